
"use strict";
(() => {
  const root = document.documentElement;
  const at = (id) => document.getElementById(id);
  const field = at("search"), found = at("found"), menu = at("menu");
  const index = JSON.parse(at("index").textContent);
  let hits = [], chosen = -1;

  // The theme: what the reader chose before, else the system's.
  const kept = (() => { try { return localStorage.getItem("catalogue-theme"); } catch { return null; } })();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  at("theme").addEventListener("click", () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("catalogue-theme", root.dataset.theme); } catch { /* a file may have no storage */ }
  });

  const toggle = (open) => { document.body.classList.toggle("open", open); menu.setAttribute("aria-expanded", String(open)); };
  menu.addEventListener("click", () => toggle(!document.body.classList.contains("open")));
  at("contents").addEventListener("click", (event) => { if (event.target.closest("a")) toggle(false); });

  // Search: every word must be in the name or the text; hits in the name come first.
  const score = (entry, words) => {
    const name = entry[1].toLowerCase(), text = entry[2].toLowerCase();
    let sum = 0;
    for (const word of words) {
      const place = name.indexOf(word);
      if (place >= 0) sum += 10 + (place === 0 ? 6 : /[._-]/.test(name[place - 1]) ? 3 : 0) - name.length / 100;
      else if (text.includes(word)) sum += 2;
      else if (entry[0].startsWith(word)) sum += 1;
      else return -1;
    }
    return sum;
  };
  const marked = (text, words) => {
    const box = document.createElement("span");
    const lower = text.toLowerCase();
    let from = 0;
    while (from < text.length) {
      let start = -1, size = 0;
      for (const word of words) {
        const place = lower.indexOf(word, from);
        if (place >= 0 && (start < 0 || place < start)) { start = place; size = word.length; }
      }
      if (start < 0) break;
      box.append(text.slice(from, start));
      const mark = document.createElement("mark");
      mark.textContent = text.slice(start, start + size);
      box.append(mark);
      from = start + size;
    }
    box.append(text.slice(from));
    return box;
  };
  const close = () => { found.hidden = true; field.setAttribute("aria-expanded", "false"); chosen = -1; field.removeAttribute("aria-activedescendant"); };
  const choose = (place) => {
    chosen = place;
    [...found.children].forEach((item, number) => item.setAttribute("aria-selected", String(number === place)));
    const item = found.children[place];
    if (item) { item.scrollIntoView({ block: "nearest" }); field.setAttribute("aria-activedescendant", item.id); }
  };
  const go = (entry) => { close(); field.value = ""; field.blur(); toggle(false); location.hash = entry[3]; };
  const search = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return close();
    hits = index.map((entry) => [score(entry, words), entry]).filter(([sum]) => sum >= 0)
      .sort((a, b) => b[0] - a[0]).slice(0, 40).map(([, entry]) => entry);
    found.replaceChildren(...hits.map((entry, number) => {
      const item = document.createElement("li");
      item.id = `hit-${number}`;
      item.setAttribute("role", "option");
      const kind = document.createElement("span");
      kind.className = `kind ${entry[0]}`;
      kind.textContent = { message: "payload", objects: "objects" }[entry[0]] ?? entry[0];
      const name = marked(entry[1], words);
      name.classList.add("name");
      const more = marked(entry[2], words);
      more.className = "more";
      item.append(kind, name, more);
      item.addEventListener("mousedown", (event) => { event.preventDefault(); go(entry); });
      return item;
    }));
    if (!hits.length) {
      const item = document.createElement("li");
      item.className = "empty";
      item.textContent = "Nothing has these words.";
      found.append(item);
    }
    found.hidden = false;
    field.setAttribute("aria-expanded", "true");
    choose(hits.length ? 0 : -1);
  };
  field.addEventListener("input", search);
  field.addEventListener("focus", search);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Escape") { field.value = ""; close(); field.blur(); }
    else if (event.key === "Enter" && hits[chosen]) { event.preventDefault(); go(hits[chosen]); }
    else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && hits.length) {
      event.preventDefault();
      choose((chosen + (event.key === "ArrowDown" ? 1 : hits.length - 1)) % hits.length);
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (!typing && (event.key === "/" || (event.key === "k" && (event.ctrlKey || event.metaKey)))) { event.preventDefault(); field.focus(); field.select(); }
    else if (event.key === "Escape") toggle(false);
  });

  // The flow picture: a box and what it is connected with.
  const picture = document.querySelector(".flow");
  if (picture) {
    const boxes = [...picture.querySelectorAll(".node")], lines = [...picture.querySelectorAll(".links path")];
    const show = (name) => {
      picture.classList.toggle("chosen", name !== null);
      const near = new Set([name]);
      for (const line of lines) {
        const ends = line.dataset.ends.split(" "), touches = ends.includes(name);
        line.classList.toggle("near", touches);
        if (touches) ends.forEach((end) => near.add(end));
      }
      boxes.forEach((box) => box.classList.toggle("near", near.has(box.dataset.node)));
    };
    boxes.forEach((box) => {
      box.addEventListener("mouseenter", () => show(box.dataset.node));
      box.addEventListener("mouseleave", () => show(null));
      box.addEventListener("focusin", () => show(box.dataset.node));
      box.addEventListener("focusout", () => show(null));
    });
  }

  // The contents show where the reader is.
  const entries = new Map([...document.querySelectorAll("nav a")].map((link) => [decodeURIComponent(link.hash.slice(1)), link]));
  const cards = [...document.querySelectorAll(".card[id]")];
  let current = null, waiting = false;
  const follow = () => {
    waiting = false;
    const card = cards.find((one) => one.getBoundingClientRect().bottom > 96);
    const link = scrollY > 200 && card ? entries.get(card.id) : null;
    if (!link || link === current) return;
    current?.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    current = link;
    if (getComputedStyle(menu).display !== "none") return;
    const side = at("contents"), place = link.offsetTop;
    if (place < side.scrollTop + 40 || place > side.scrollTop + side.clientHeight - 80) side.scrollTop = place - side.clientHeight / 2;
  };
  addEventListener("scroll", () => { if (!waiting) { waiting = true; requestAnimationFrame(follow); } }, { passive: true });
  follow();
})();
