(async function () {
  const decoded = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const unpacked = async (text) => {
    const stream = new Blob([decoded(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };
  const colourOf = (label) => data.palette[label % data.palette.length];
  let choose = () => {};

  // ---- Tables -------------------------------------------------------------------------------------------
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
      const numeric = head.dataset.type === "number";
      const now = head.getAttribute("aria-sort");
      // Numbers first come largest first, but a cluster's number is a name.
      const first = numeric && column > 0 ? "descending" : "ascending";
      const next = now ? (now === "ascending" ? "descending" : "ascending") : first;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", next);
      const sign = next === "ascending" ? 1 : -1;
      const key = (row) => row.cells[column].dataset.v;
      const compare = numeric ? (a, b) => key(a) - key(b) : (a, b) => key(a).localeCompare(key(b));
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => sign * compare(a, b)));
    }));
    table.tBodies[0].addEventListener("click", (event) => {
      const button = event.target.closest(".pick");
      if (!button) return;
      choose(Number(button.closest("tr").dataset.cluster));
      if ($("map")) $("map").scrollIntoView();
    });
  }
  for (const button of document.querySelectorAll("[data-more]")) {
    button.addEventListener("click", () => {
      $(button.dataset.more).classList.remove("short");
      button.hidden = true;
    });
  }

  // ---- Residue maps -------------------------------------------------------------------------------------
  // Blue to orange by way of near white: told apart by every kind of colour vision, and in grey by depth.
  const AGAINST = [37, 99, 168], NEUTRAL = [245, 244, 241], FOR = [188, 78, 10];
  const shade = (share) => {
    const end = share < 0 ? AGAINST : FOR, depth = Math.min(1, Math.abs(share));
    return "rgb(" + NEUTRAL.map((value, i) => Math.round(value + (end[i] - value) * depth)).join(",") + ")";
  };
  const residueTip = element("div");
  residueTip.id = "residue-tip";
  residueTip.hidden = true;
  document.body.append(residueTip);
  const drawMap = (details) => {
    const box = details.querySelector(".sequence");
    if (box.childElementCount) return;
    const { residues, contributions } = data.maps[Number(details.dataset.map)];
    const values = new Float32Array(decoded(contributions).buffer);
    const limit = Number(box.dataset.limit) || 1;
    for (let start = 0; start < residues.length; start += 60) {
      const row = element("div", undefined, "row");
      row.append(element("i", start + 1));
      for (let place = start; place < start + 60; place++) {
        const cell = element("s", residues[place] || "");
        if (place % 10 === 9 && place % 60 !== 59) cell.className = "gap";
        if (place < residues.length) {
          const share = values[place] / limit;
          cell.style.backgroundColor = shade(share);
          if (share > 0.8 || share < -0.7) cell.classList.add("light");
          cell.dataset.place = place;
        }
        row.append(cell);
      }
      box.append(row);
    }
    box.addEventListener("mouseover", (event) => {
      const place = event.target.dataset.place;
      residueTip.hidden = place === undefined;
      if (place === undefined) return;
      const value = values[place];
      residueTip.textContent = residues[place] + (Number(place) + 1) + "  " + (value < 0 ? "−" : "+") + Math.abs(value).toPrecision(3);
      const at = event.target.getBoundingClientRect();
      residueTip.style.left = Math.min(at.left, innerWidth - 130) + "px";
      residueTip.style.top = at.top - 28 + "px";
    });
    box.addEventListener("mouseleave", () => { residueTip.hidden = true; });
    const bar = details.querySelector(".scale svg");
    for (let i = 0; i < 40; i++) {
      const step = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      for (const [name, value] of Object.entries({ x: i * 4, width: 4.5, height: 10, fill: shade((i - 19.5) / 19.5) })) step.setAttribute(name, value);
      bar.append(step);
    }
  };
  for (const details of document.querySelectorAll("details.residues")) {
    details.addEventListener("toggle", () => { if (details.open) drawMap(details); });
    if (details.open) drawMap(details);
  }
  const openTarget = () => {
    const details = /^#residues-\d+$/.test(location.hash) && document.querySelector(location.hash);
    if (!details) return;
    $("maps").classList.remove("short");
    details.open = true;
    details.scrollIntoView();
  };
  addEventListener("hashchange", openTarget);
  document.addEventListener("click", (event) => { if (event.target.closest('a[href^="#residues-"]')) setTimeout(openTarget); });
  openTarget();

  // ---- Map ----------------------------------------------------------------------------------------------
  if ($("canvas") && data.n) await drawPlane();
  document.body.dataset.ready = "true";

  async function drawPlane() {
    const n = data.n;
    const numbers = await unpacked(data.numbers);
    const labels = new Int32Array(numbers, 0, n);
    const xs = new Uint16Array(numbers, 4 * n, n), ys = new Uint16Array(numbers, 6 * n, n);
    const probabilities = new Uint8Array(numbers, 8 * n, n);
    const [ids, descriptions] = JSON.parse(new TextDecoder().decode(await unpacked(data.texts)));
    const canvas = $("canvas"), context = canvas.getContext("2d");

    // Members of each cluster together: one colour change a cluster, and small clusters lie on top.
    const members = new Map();
    for (let i = 0; i < n; i++) {
      if (!members.has(labels[i])) members.set(labels[i], []);
      members.get(labels[i]).push(i);
    }
    const present = [...members.keys()].sort((a, b) => a - b);
    const names = new Map(present.filter((label) => label >= 0).slice(0, 60).map((label) => [label, anchor(members.get(label))]));

    // The member nearest to the median: a place that surely lies in the cluster.
    function anchor(rows) {
      const middle = (values) => Float64Array.from(rows, (i) => values[i]).sort()[rows.length >> 1];
      const x = middle(xs), y = middle(ys);
      let best = rows[0], least = Infinity;
      for (const i of rows) {
        const d = (xs[i] - x) ** 2 + (ys[i] - y) ** 2;
        if (d < least) { least = d; best = i; }
      }
      return best;
    }

    // A grid of buckets finds the dot under the pointer without looking at all of them.
    const SHIFT = 9, SIDE = 128;
    const starts = new Uint32Array(SIDE * SIDE + 1), bucketed = new Uint32Array(n);
    const bucket = (i) => (ys[i] >> SHIFT) * SIDE + (xs[i] >> SHIFT);
    for (let i = 0; i < n; i++) starts[bucket(i) + 1]++;
    for (let i = 0; i < SIDE * SIDE; i++) starts[i + 1] += starts[i];
    const next = starts.slice();
    for (let i = 0; i < n; i++) bucketed[next[bucket(i)]++] = i;

    let width = 0, height = 0, ratio = 1, low = 1, scale = 1, cx = 32768, cy = 32768;
    let chosen = null, matches = null, hovered = -1, pending = false;
    const lastX = xs.reduce((a, b) => Math.max(a, b), 0), lastY = ys.reduce((a, b) => Math.max(a, b), 0);

    const screenX = (x) => (x - cx) * scale + width / 2;
    const screenY = (y) => (cy - y) * scale + height / 2;
    const redraw = () => {
      if (!pending) { pending = true; requestAnimationFrame(() => { pending = false; draw(); }); }
    };
    function fit() {
      low = scale = Math.min((width - 56) / Math.max(lastX, 1), (height - 56) / Math.max(lastY, 1), 0.05);
      cx = lastX / 2;
      cy = lastY / 2;
      redraw();
    }
    function resize() {
      const fresh = width === 0;
      width = canvas.clientWidth;
      height = canvas.clientHeight;
      ratio = devicePixelRatio || 1;
      canvas.width = width * ratio;
      canvas.height = height * ratio;
      if (fresh || scale === low) fit(); else redraw();
    }
    function zoom(factor, x = width / 2, y = height / 2) {
      if (!factor) return fit();
      const target = Math.min(Math.max(scale * factor, low * 0.6), low * 400);
      cx += (x - width / 2) * (1 / scale - 1 / target);
      cy -= (y - height / 2) * (1 / scale - 1 / target);
      scale = target;
      redraw();
    }

    function draw() {
      const style = getComputedStyle(document.documentElement);
      const tone = (name) => style.getPropertyValue(name).trim();
      const grey = tone("--unassigned"), faint = tone("--faint"), ink = tone("--ink"), paper = tone("--paper");
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const base = n > 30000 ? 1.3 : n > 12000 ? 1.7 : n > 3000 ? 2.2 : n > 300 ? 3 : 5;
      const radius = base * Math.min(3, Math.max(1, (scale / low) ** 0.35));
      const quiet = chosen !== null || matches !== null;
      const alpha = n > 1000 ? 0.78 : 0.9;
      // Many dots are written as pixels: several times as fast as paths, and they hide their overlap anyway.
      let visible = 0;
      for (let i = 0; i < n; i++) {
        const x = screenX(xs[i]), y = screenY(ys[i]);
        if (x > 0 && y > 0 && x < width && y < height) visible++;
      }
      const dense = visible > 8000;
      const image = dense ? context.createImageData(canvas.width, canvas.height) : null;
      const pixels = dense ? new Uint32Array(image.data.buffer) : null;
      const stamp = (rows, colour, size) => {
        const reach = Math.max(1, Math.round(size * ratio)), step = canvas.width;
        const packed = (0xff000000 | (parseInt(colour.slice(5, 7), 16) << 16) | (parseInt(colour.slice(3, 5), 16) << 8) | parseInt(colour.slice(1, 3), 16)) >>> 0;
        const halves = Array.from({ length: 2 * reach + 1 }, (_, k) => Math.floor(Math.sqrt((reach + 0.3) ** 2 - (k - reach) ** 2)));
        for (const i of rows) {
          const x = Math.round(screenX(xs[i]) * ratio), y = Math.round(screenY(ys[i]) * ratio);
          if (x < reach || y < reach || x >= canvas.width - reach || y >= canvas.height - reach) continue;
          for (let k = 0; k <= 2 * reach; k++) {
            const from = (y + k - reach) * step + x;
            pixels.fill(packed, from - halves[k], from + halves[k] + 1);
          }
        }
      };
      const dots = (rows, colour, size, opacity, edge) => {
        if (dense && !edge) return stamp(rows, colour, size);
        context.globalAlpha = opacity;
        context.fillStyle = colour;
        context.beginPath();
        let held = 0;
        for (const i of rows) {
          const x = screenX(xs[i]), y = screenY(ys[i]);
          if (x < -9 || y < -9 || x > width + 9 || y > height + 9) continue;
          context.moveTo(x + size, y);
          context.arc(x, y, size, 0, 6.2832);
          // Long paths slow down out of proportion.
          if (++held % 200 === 0) { context.fill(); if (edge) context.stroke(); context.beginPath(); }
        }
        context.fill();
        if (edge) context.stroke();
        context.globalAlpha = 1;
      };
      for (const label of present) {
        if (quiet) dots(members.get(label), faint, radius, 0.8);
        else dots(members.get(label), label < 0 ? grey : colourOf(label), radius, label < 0 ? 0.6 : alpha);
      }
      if (chosen !== null) dots(members.get(chosen) || [], chosen < 0 ? grey : colourOf(chosen), radius, 0.9);
      const few = matches !== null && matches.length <= 400;
      // The pixels replace what is there, so they go first.
      if (dense && few) context.putImageData(image, 0, 0);
      if (matches !== null) {
        const byLabel = new Map();
        for (const i of matches) {
          if (!byLabel.has(labels[i])) byLabel.set(labels[i], []);
          byLabel.get(labels[i]).push(i);
        }
        context.strokeStyle = ink;
        context.lineWidth = 1;
        for (const [label, rows] of byLabel) dots(rows, label < 0 ? grey : colourOf(label), few ? Math.max(radius + 1.5, 4) : radius, 1, few);
      }
      if (dense && !few) context.putImageData(image, 0, 0);
      context.font = "600 12px system-ui, sans-serif";
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.lineJoin = "round";
      const named = [];
      for (const [label, at] of names) {
        if ((chosen !== null && label !== chosen) || matches !== null) continue;
        // A number must not hide the few dots it stands for.
        const x = screenX(xs[at]), y = screenY(ys[at]) - (members.get(label).length < 20 ? radius + 9 : 0);
        // The largest clusters come first; what would hide their numbers is left to the legend and to zooming.
        const half = context.measureText(label).width / 2 + 2;
        if (named.some((other) => Math.abs(x - other.x) < half + other.half && Math.abs(y - other.y) < 15)) continue;
        named.push({ label, x, y, half });
        context.strokeStyle = paper;
        context.lineWidth = 4;
        context.strokeText(label, x, y);
        context.fillStyle = ink;
        context.fillText(label, x, y);
      }
      canvas.dataset.named = named.map(({ label }) => label).join(" ");
      if (hovered >= 0) {
        context.strokeStyle = ink;
        context.lineWidth = 1.5;
        context.beginPath();
        context.arc(screenX(xs[hovered]), screenY(ys[hovered]), radius + 3, 0, 6.2832);
        context.stroke();
      }
    }

    function nearest(x, y) {
      const wx = (x - width / 2) / scale + cx, wy = cy - (y - height / 2) / scale, reach = 9 / scale;
      const cell = (value) => Math.min(SIDE - 1, Math.max(0, value >> SHIFT));
      let best = -1, least = reach * reach;
      for (let row = cell(wy - reach); row <= cell(wy + reach); row++) {
        for (let column = cell(wx - reach); column <= cell(wx + reach); column++) {
          for (let k = starts[row * SIDE + column]; k < starts[row * SIDE + column + 1]; k++) {
            const i = bucketed[k], d = (xs[i] - wx) ** 2 + (ys[i] - wy) ** 2;
            if (d < least) { least = d; best = i; }
          }
        }
      }
      return best;
    }
    function hover(i) {
      if (i === hovered) return;
      hovered = i;
      const tip = $("tip");
      tip.hidden = i < 0;
      if (i >= 0) {
        const label = labels[i];
        const verdict = label < 0 ? "unassigned, best probability " : "cluster " + label + ", probability ";
        tip.replaceChildren(element("b", ids[i]), ...(descriptions[i] ? [element("div", descriptions[i])] : []),
          element("span", verdict + (probabilities[i] < 255 ? Math.min(probabilities[i] / 255, 0.99) : 1).toFixed(2)));
        const x = screenX(xs[i]), y = screenY(ys[i]);
        const left = x + 14 + tip.offsetWidth > width ? x - 14 - tip.offsetWidth : x + 14;
        tip.style.left = Math.max(4, left) + "px";
        tip.style.top = Math.max(4, Math.min(y - 12, height - tip.offsetHeight - 6)) + "px";
      }
      redraw();
    }

    choose = (label) => {
      chosen = chosen === label ? null : label;
      matches = null;
      $("search").value = "";
      $("hits").replaceChildren();
      say();
      mark();
      redraw();
    };
    function mark() {
      for (const button of document.querySelectorAll("#legend button, .pick")) {
        const row = button.closest("tr");
        const is = chosen !== null && Number(row ? row.dataset.cluster : button.dataset.cluster) === chosen;
        button.setAttribute("aria-pressed", is);
        if (row) row.classList.toggle("chosen", is);
      }
    }
    const proteins = (count) => count.toLocaleString("en") + (count === 1 ? " protein" : " proteins");
    function say(text) {
      const rest = chosen === null ? "\u00a0" : (chosen < 0 ? "Unassigned" : "Cluster " + chosen) + ": " + proteins((members.get(chosen) || []).length);
      $("found").textContent = text || rest;
    }

    let haystack = null;
    function search() {
      const query = $("search").value.trim().toLowerCase();
      const cluster = /^cluster\s*:?\s*(\d+)$/.exec(query);
      $("hits").replaceChildren();
      chosen = null;
      matches = null;
      if (cluster && members.has(Number(cluster[1]))) {
        chosen = Number(cluster[1]);
        say();
      } else if (query === "unassigned" && members.has(-1)) {
        chosen = -1;
        say();
      } else if (query) {
        haystack = haystack || ids.map((id, i) => (id + " " + descriptions[i]).toLowerCase());
        matches = [];
        for (let i = 0; i < n; i++) if (haystack[i].includes(query)) matches.push(i);
        say(matches.length === 0 ? "Nothing found" : proteins(matches.length) + (matches.length > 6 ? ", the first 6:" : ""));
        for (const i of matches.slice(0, 6)) {
          const item = element("li"), button = element("button", ids[i]);
          button.type = "button";
          button.title = descriptions[i];
          button.addEventListener("click", () => {
            cx = xs[i];
            cy = ys[i];
            scale = Math.max(scale, low * 4);
            hovered = -1;
            hover(i);
          });
          item.append(button);
          $("hits").append(item);
        }
      } else say();
      mark();
      redraw();
    }
    let timer = 0;
    $("search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 120); });

    for (const label of [...present.filter((value) => value >= 0), ...present.filter((value) => value < 0)].slice(0, 400)) {
      const button = element("button");
      button.type = "button";
      button.dataset.cluster = label;
      button.setAttribute("aria-pressed", "false");
      const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      const dot = document.createElementNS("http://www.w3.org/2000/svg", "circle");
      for (const [name, value] of [["width", 11], ["height", 11]]) svg.setAttribute(name, value);
      for (const [name, value] of [["cx", 5.5], ["cy", 5.5], ["r", 5], ["fill", label < 0 ? "#a7adb1" : colourOf(label)]]) dot.setAttribute(name, value);
      svg.append(dot);
      button.append(svg, element("span", label < 0 ? "unassigned" : "cluster " + label), element("span", members.get(label).length.toLocaleString("en")));
      button.addEventListener("click", () => choose(label));
      $("legend").append(button);
    }

    let grip = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      grip = { x: event.offsetX, y: event.offsetY, moved: false };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const x = event.offsetX, y = event.offsetY;
      if (grip && (grip.moved || Math.hypot(x - grip.x, y - grip.y) > 3)) {
        hover(-1);
        cx -= (x - grip.x) / scale;
        cy += (y - grip.y) / scale;
        grip = { x, y, moved: true };
        redraw();
      } else if (!grip) hover(nearest(x, y));
    });
    canvas.addEventListener("pointerup", (event) => {
      if (grip && !grip.moved) {
        const i = nearest(event.offsetX, event.offsetY);
        if (i >= 0) choose(labels[i]); else if (chosen !== null) choose(chosen);
      }
      grip = null;
    });
    canvas.addEventListener("pointercancel", () => { grip = null; });
    canvas.addEventListener("pointerleave", () => { if (!grip) hover(-1); });
    canvas.addEventListener("dblclick", (event) => zoom(2, event.offsetX, event.offsetY));
    canvas.addEventListener("wheel", (event) => {
      // The page must stay scrollable: the wheel belongs to the map only once it was clicked.
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== canvas) return;
      event.preventDefault();
      hover(-1);
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.offsetX, event.offsetY);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      const factor = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, "0": 0 }[event.key];
      if (move) {
        cx += (move[0] * width) / 8 / scale;
        cy += (move[1] * height) / 8 / scale;
        redraw();
      } else if (factor !== undefined && !event.ctrlKey && !event.metaKey) zoom(factor);
      else return;
      event.preventDefault();
    });
    for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", () => zoom(Number(button.dataset.zoom)));
    new ResizeObserver(resize).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    resize();
    const began = performance.now();
    draw();
    canvas.dataset.drawMs = (performance.now() - began).toFixed(1);
  }
})().catch((error) => {
  document.body.dataset.ready = "error";
  const place = document.getElementById("failure");
  if (!place) return;
  place.hidden = false;
  place.textContent = typeof DecompressionStream === "undefined"
    ? "The map needs a browser of 2023 or later."
    : "The map could not be drawn: " + error;
});
