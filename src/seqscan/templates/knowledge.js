(function () {
  const button = (text, className, act) => {
    const made = element("button", text, className);
    made.type = "button";
    made.addEventListener("click", act);
    return made;
  };
  const count = (n, one, many) => n.toLocaleString("en") + " " + (n === 1 ? one : many);
  const soon = (act) => {
    let timer = 0;
    return () => { clearTimeout(timer); timer = setTimeout(act, 120); };
  };

  // ---- Enrichment ---------------------------------------------------------------------------------------
  if (data.enrichment) {
    let limit = 40;
    const show = () => {
      const query = $("enrichment-find").value.trim().toLowerCase();
      const number = /^cluster\s*(\d+)$/.exec(query);
      const found = data.enrichment.clusters.filter(([cluster, , , terms]) => number
        ? cluster === Number(number[1])
        : !query || terms.some(([id, name]) => id.toLowerCase().includes(query) || name.toLowerCase().includes(query)));
      const left = data.enrichment.n_clusters - data.enrichment.clusters.length;
      $("enrichment-count").textContent = count(found.length, "cluster", "clusters") + (left && !query ? " of the first; " + left + " more are in the table" : "");
      $("enrichment-list").replaceChildren(...found.slice(0, limit).map(([cluster, size, n, terms]) => {
        const box = element("div", undefined, "cluster"), head = element("div"), table = element("table"), body = element("tbody");
        head.append(element("h3", "Cluster " + cluster), element("p", count(size, "annotated member", "annotated members"), "small"));
        if (n > terms.length) head.append(element("p", count(n - terms.length, "more term", "more terms") + " in the table", "small"));
        for (const [id, name, aspect, members, annotated, fold, q] of terms) {
          const row = element("tr"), first = element("td", name + " "), share = element("td", members + " of " + size);
          const bar = element("span", undefined, "bar"), fill = element("i");
          first.append(element("span", id, "id dim"));
          first.title = aspect.replace(/_/g, " ") + "; " + annotated + " proteins carry it in all";
          fill.style.width = (100 * members) / size + "%";
          bar.append(fill);
          share.append(bar);
          row.append(first, share, element("td", "×" + (fold >= 10 ? Math.round(fold) : fold.toFixed(2))), element("td", "q " + (q < 1e-4 ? q.toExponential(0) : q), "dim"));
          body.append(row);
        }
        const names = element("thead", undefined, "unseen"), line = element("tr");
        for (const text of ["Term", "Members that carry it", "Fold", "q"]) {
          const cell = element("th", text);
          cell.scope = "col";
          line.append(cell);
        }
        names.append(line);
        table.append(names, body);
        box.append(head, table);
        return box;
      }));
      $("enrichment-more").hidden = found.length <= limit;
    };
    $("enrichment-find").addEventListener("input", soon(() => { limit = 40; show(); }));
    $("enrichment-more").addEventListener("click", () => { limit += 200; show(); });
    show();
  }

  // ---- Audit --------------------------------------------------------------------------------------------
  if (data.audit) {
    const rows = data.audit.rows;
    const key = "seqscan audit " + location.pathname;
    let verdicts = {}, limit = 50, column = 2, sign = -1;
    try { verdicts = JSON.parse(localStorage.getItem(key)) || {}; } catch (error) { verdicts = {}; }
    for (const aspect of [...new Set(rows.map((row) => row[5]))].sort()) {
      const option = element("option", aspect.replace(/_/g, " "));
      option.value = aspect;
      $("audit-aspect").append(option);
    }
    const name = (row) => row[0] + "\t" + row[1];
    const decide = (row, verdict) => {
      if (verdicts[name(row)] === verdict) delete verdicts[name(row)]; else verdicts[name(row)] = verdict;
      try { localStorage.setItem(key, JSON.stringify(verdicts)); } catch (error) { /* kept until the page closes */ }
      show();
      // The row was made anew: who came by keyboard stays where he was.
      for (const made of $("audit-rows").querySelectorAll("button")) if (made.dataset.key === keyOf(row, verdict)) made.focus();
    };
    const keyOf = (row, verdict) => verdict + "\t" + name(row);
    const show = () => {
      const query = $("audit-find").value.trim().toLowerCase(), aspect = $("audit-aspect").value;
      const state = $("audit-state").value, least = Number($("audit-least").value) || 0;
      const found = rows.filter((row) => Number(row[2]) >= least && (!aspect || row[5] === aspect)
        && (!state || (verdicts[name(row)] || "none") === state)
        && (!query || row.some((cell) => String(cell).toLowerCase().includes(query))));
      const value = (row) => column === 2 || column === 6 ? Number(row[column]) : row[column];
      found.sort((a, b) => (value(a) < value(b) ? -sign : value(a) > value(b) ? sign : 0));
      $("audit-rows").replaceChildren(...found.slice(0, limit).map((row) => {
        const verdict = verdicts[name(row)] || "", line = element("tr", undefined, verdict);
        const term = element("td", row[4] + " "), choice = element("td", undefined, "verdict");
        term.append(element("span", row[1], "id dim"));
        for (const word of ["wrong", "right"]) {
          const made = button(word, "", () => decide(row, word));
          made.setAttribute("aria-pressed", String(verdict === word));
          made.dataset.key = keyOf(row, word);
          choice.append(made);
        }
        line.append(element("td", Number(row[2]).toFixed(3)), element("td", row[0], "id"), term, element("td", row[6]), element("td", row[3], "why"), choice);
        return line;
      }));
      const done = rows.filter((row) => verdicts[name(row)]).length;
      $("audit-count").textContent = count(found.length, "annotation", "annotations") + ", " + done + " judged";
      $("audit-more").hidden = found.length <= limit;
      for (const head of document.querySelectorAll("[data-sort]")) {
        const own = Number(head.dataset.sort) === column;
        if (own) head.parentElement.setAttribute("aria-sort", sign < 0 ? "descending" : "ascending");
        else head.parentElement.removeAttribute("aria-sort");
      }
    };
    for (const head of document.querySelectorAll("[data-sort]")) head.addEventListener("click", () => {
      const chosen = Number(head.dataset.sort);
      sign = chosen === column ? -sign : chosen === 2 ? -1 : 1;
      column = chosen;
      show();
    });
    for (const id of ["audit-find", "audit-least"]) $(id).addEventListener("input", soon(() => { limit = 50; show(); }));
    for (const id of ["audit-aspect", "audit-state"]) $(id).addEventListener("change", () => { limit = 50; show(); });
    $("audit-more").addEventListener("click", () => { limit += 200; show(); });
    $("audit-save").addEventListener("click", () => {
      const lines = ["protein\tterm\tverdict", ...Object.entries(verdicts).map(([who, verdict]) => who + "\t" + verdict)];
      const link = element("a");
      link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/tab-separated-values" }));
      link.download = "verdicts.tsv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    show();
  }

  // ---- Ontology -----------------------------------------------------------------------------------------
  if (data.ontology) {
    const nodes = new Map(data.ontology.nodes.map(([id, title, status, size, parents, definition, evidence, match]) =>
      [id, { id, title, status, size, parents, definition, evidence, match, children: [] }]));
    const tops = [];
    for (const node of nodes.values()) {
      const above = node.parents.map(([, id]) => id).filter((id) => nodes.has(id));
      for (const id of above) nodes.get(id).children.push(node);
      if (!above.length) tops.push(node);
    }
    const newBelow = (node) => {
      const seen = new Set([node]), waiting = [node];
      while (waiting.length) for (const child of waiting.pop().children) if (!seen.has(child)) { seen.add(child); waiting.push(child); }
      return [...seen].filter((other) => other !== node && other.status === "new").length;
    };
    const order = (list) => list.sort((a, b) => (b.children.length > 0) - (a.children.length > 0) || b.size - a.size || (a.title < b.title ? -1 : 1));
    const tell = (node, line) => {
      for (const other of document.querySelectorAll(".tree .name[aria-current]")) other.removeAttribute("aria-current");
      line.setAttribute("aria-current", "true");
      const card = $("tree-card"), list = element("ul");
      for (const fact of node.evidence) list.append(element("li", fact));
      const parents = node.parents.map(([relation, id]) => relation.replace("_", " ") + " " + (nodes.has(id) ? nodes.get(id).title : id) + " (" + id + ")");
      const word = { new: "No existing term fits: a candidate for a new one.", existing: "Says the same as " + node.match + ".", unknown: "Too few members are annotated to tell whether a term fits.", term: "An existing term." }[node.status];
      card.replaceChildren(element("h3", node.title), element("p", node.id + (node.size ? " · " + count(node.size, "member", "members") : ""), "id dim"),
        element("p", word), element("p", node.definition), ...(parents.length ? [element("p", "Above it: " + parents.join("; "), "dim")] : []), list);
    };
    const item = (node, path) => {
      const made = element("li"), line = element("div", undefined, "line");
      // A file could hold a cycle; a tree must not.
      const children = node.children.filter((child) => !path.has(child.id));
      const opener = button(children.length ? "▸" : "", "open", () => toggle());
      opener.disabled = !children.length;
      if (children.length) {
        opener.setAttribute("aria-label", "Below " + node.title);
        opener.setAttribute("aria-expanded", "false");
      }
      const title = button(node.title, "name", () => tell(node, title));
      line.append(opener, element("i", undefined, "dot " + node.status), title);
      if (node.size) line.append(element("span", node.size.toLocaleString("en"), "dim small"));
      if (node.parents.length > 1) line.append(element("span", node.parents.length + " parents", "dim small"));
      const below = newBelow(node);
      if (below) line.append(element("span", below.toLocaleString("en") + " new below", "dim small"));
      made.append(line);
      let inner = null;
      const toggle = () => {
        if (!children.length) return;
        if (!inner) {
          inner = element("ul");
          const further = new Set(path).add(node.id);
          const sorted = order(children.slice());
          const fill = (from) => {
            inner.append(...sorted.slice(from, from + 100).map((child) => item(child, further)));
            if (from + 100 < sorted.length) inner.append(button("Show " + (sorted.length - from - 100) + " more", "more", (event) => { event.target.remove(); fill(from + 100); }));
          };
          fill(0);
          made.append(inner);
        } else inner.hidden = !inner.hidden;
        opener.textContent = inner.hidden ? "▸" : "▾";
        opener.setAttribute("aria-expanded", String(!inner.hidden));
      };
      made.openOnce = () => { if (!inner) toggle(); return inner ? [...inner.children] : []; };
      return made;
    };
    const show = () => {
      const query = $("tree-find").value.trim().toLowerCase(), status = $("tree-status").value;
      const flat = query || status;
      const found = flat
        ? [...nodes.values()].filter((node) => (!status || node.status === status) && (!query || (node.title + " " + node.id + " " + node.match).toLowerCase().includes(query)))
        : tops;
      const items = order(found.slice()).slice(0, 300).map((node) => item(node, new Set()));
      $("tree").replaceChildren(...items);
      $("tree-count").textContent = flat ? count(found.length, "category", "categories") + " found" : found.length.toLocaleString("en") + " at the top";
      // Where there is one way in, it is open.
      let open = flat ? [] : items;
      for (let depth = 0; depth < 3 && open.length && open.length <= 4; depth++) open = open.flatMap((one) => (one.openOnce ? one.openOnce() : []));
    };
    $("tree-find").addEventListener("input", soon(show));
    $("tree-status").addEventListener("change", show);
    show();
  }
  document.body.dataset.ready = "yes";
})();
