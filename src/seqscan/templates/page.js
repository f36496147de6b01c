"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

