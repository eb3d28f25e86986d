"use strict";
(() => {
  const graph = JSON.parse(document.getElementById("graph").textContent);
  const LANES = [
    ["raw", "As received"], ["seeds", "As received"], ["staging", "Staging"], ["intermediate", "Intermediate"], ["marts", "Marts"],
    ["ops", "Operations"], ["activation", "Activation"], ["sync", "Syncs"], ["destination", "Destinations"], ["dashboard", "Dashboards"],
  ];
  const WHOLE = "*";
  const $ = (id) => document.getElementById(id);
  const key = (table, column) => JSON.stringify([table, column]);
  const made = (tag, text, name) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  };

  // What stands beside what: by column, and by table for those that read or make one as a whole.
  const sources = new Map(), targets = new Map(), outOf = new Map();
  const push = (map, name, value) => map.has(name) ? map.get(name).push(value) : map.set(name, [value]);
  for (const [from, to] of graph.edges) {
    push(targets, key(...from), to);
    push(sources, key(...to), from);
    push(outOf, from[0], to);
  }
  const above = ([table, column]) => (sources.get(key(table, column)) || [])
    .concat(column === WHOLE ? [] : sources.get(key(table, WHOLE)) || []);
  const below = ([table, column]) => column === WHOLE ? outOf.get(table) || []
    : (targets.get(key(table, column)) || []).concat(targets.get(key(table, WHOLE)) || []);
  function reach(start, step) {
    const seen = new Map(), pairs = [], pending = [start];
    while (pending.length) {
      const at = pending.pop();
      for (const next of step(at)) {
        pairs.push([at, next]);
        if (!seen.has(key(...next))) { seen.set(key(...next), next); pending.push(next); }
      }
    }
    return { seen, pairs };
  }

  // The cards, drawn once; choosing and searching only hide and colour.
  const rows = new Map(), cards = [];
  const lanes = new Map();
  for (const [layer, title] of LANES) {
    if (lanes.has(title)) { lanes.set(layer, lanes.get(title)); continue; }
    const lane = made("section", undefined, "lane");
    lane.append(made("h2", title));
    lanes.set(layer, lane); lanes.set(title, lane);
    $("lanes").append(lane);
  }
  for (const [name, table] of Object.entries(graph.tables).sort(([a], [b]) => a < b ? -1 : 1)) {
    const card = made("article", undefined, "card"), heading = made("h3"), list = made("ul");
    for (const part of name.split(/(?<=[._:])/)) heading.append(part, made("wbr"));
    heading.append(" ");
    heading.append(made("small", table.kind));
    card.append(heading);
    if (table.description) card.append(made("p", table.description));
    const items = [];
    for (const [column, about] of Object.entries(table.columns)) {
      const item = made("li"), button = made("button");
      button.type = "button";
      button.append(made("span", column === WHOLE ? "as a whole" : column));
      if (about.personal) button.append(made("span", "personal", "tag"));
      button.title = about.description || "";
      button.addEventListener("click", () => { location.hash = encodeURIComponent(`${name}.${column}`); });
      item.append(button);
      list.append(item);
      const row = { item, place: [name, column], about, words: `${name}.${column} ${about.description} ${table.description}`.toLowerCase() };
      rows.set(key(name, column), row);
      items.push(row);
    }
    card.append(list);
    cards.push({ card, items });
    (lanes.get(table.layer) || lanes.get("raw")).append(card);
  }

  let trace = null;
  function show() {
    const wanted = $("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean), personal = $("personal").checked;
    let any = false;
    for (const { card, items } of cards) {
      let shown = 0;
      for (const row of items) {
        const id = key(...row.place);
        const fits = (!trace || trace.roles.has(id)) && (!personal || row.about.personal)
          && (trace || ((row.place[1] !== WHOLE || items.length === 1) && wanted.every((word) => row.words.includes(word))));
        row.item.hidden = !fits;
        row.item.className = (trace && trace.roles.get(id)) || "";
        shown += fits ? 1 : 0;
      }
      card.hidden = shown === 0;
      any = any || shown > 0;
    }
    for (const lane of new Set(lanes.values())) lane.hidden = !lane.querySelector(".card:not([hidden])");
    $("none").hidden = any;
    $("all").hidden = !trace && !wanted.length && !personal;
    draw();
  }

  function choose(place) {
    const chosen = $("chosen");
    chosen.replaceChildren();
    chosen.hidden = !place;
    trace = null;
    if (place) {
      const up = reach(place, above), down = reach(place, below), roles = new Map();
      for (const id of up.seen.keys()) roles.set(id, "up");
      for (const id of down.seen.keys()) roles.set(id, "down");
      roles.set(key(...place), "at");
      trace = { roles, pairs: [...up.pairs.map(([to, from]) => [from, to, "up"]), ...down.pairs.map(([from, to]) => [from, to, "down"])] };
      const about = rows.get(key(...place)).about;
      chosen.append(made("h2", place.join(".")));
      if (about.description) chosen.append(made("p", about.description));
      if (about.personal) chosen.append(made("p", `Personal data, from ${about.personal}`, "personal"));
      chosen.append(made("p", `${about.type ? about.type + " · " : ""}made from ${up.seen.size} · used in ${down.seen.size}`));
    }
    show();
    if (place) rows.get(key(...place)).item.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function draw() {
    const svg = $("lines"), lanesBox = $("lanes"), origin = svg.parentElement;
    svg.replaceChildren();
    if (!trace || getComputedStyle(svg).display === "none") return;
    svg.setAttribute("width", lanesBox.scrollWidth + 40);
    svg.setAttribute("height", lanesBox.scrollHeight + 40);
    const corner = origin.getBoundingClientRect(), x0 = corner.left - origin.scrollLeft, y0 = corner.top;
    for (const [from, to, role] of trace.pairs) {
      const a = rows.get(key(...from)), b = rows.get(key(...to));
      if (!a || !b || a.item.hidden || b.item.hidden) continue;
      const one = a.item.getBoundingClientRect(), two = b.item.getBoundingClientRect();
      const forward = one.right <= two.left;
      const x1 = (forward ? one.right : one.left) - x0, x2 = two.left - x0;
      const y1 = one.top + one.height / 2 - y0, y2 = two.top + two.height / 2 - y0;
      const bend = forward ? Math.max(24, (x2 - x1) / 2) : 28;
      const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
      path.setAttribute("d", `M${x1},${y1} C${x1 + (forward ? bend : -bend)},${y1} ${x2 - bend},${y2} ${x2},${y2}`);
      path.setAttribute("class", role);
      svg.append(path);
    }
  }

  function fromAddress() {
    let name = "";
    try { name = decodeURIComponent(location.hash.slice(1)); } catch { name = ""; }
    const found = [...rows.values()].find((row) => row.place.join(".") === name);
    choose(found ? found.place : null);
  }
  $("search").addEventListener("input", () => {
    if (trace) history.replaceState(null, "", location.pathname + location.search);
    if (trace) choose(null); else show();
  });
  $("search").addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const first = cards.flatMap((card) => card.items).find((row) => !row.item.hidden);
    if (first) location.hash = encodeURIComponent(first.place.join("."));
  });
  $("personal").addEventListener("change", show);
  function everything() {
    $("search").value = "";
    $("personal").checked = false;
    history.replaceState(null, "", location.pathname + location.search);
    choose(null);
  }
  $("all").addEventListener("click", everything);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") everything(); });
  addEventListener("hashchange", fromAddress);
  addEventListener("resize", draw);
  fromAddress();
})();
