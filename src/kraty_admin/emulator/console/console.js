// The console of the emulator. Everything that comes from a request is shown as text: `h` makes
// elements and text nodes only, and the page's policy refuses markup made of strings.
"use strict";

const STEP = 50; // how many rows a list shows at first, and how many more at a time
const KEPT = 1000; // how many requests the emulator keeps
const BODY = 2000; // how many bytes of a body are loaded with the list
const GAP = 250; // milliseconds between two refreshes at least
const KINDS = {
  drop: "no answer",
  reset: "connection reset",
  stall: "no answer for a while, then closed",
  status: "an error status",
  truncate: "answer cut short",
  invalid_json: "broken JSON",
  content_type: "wrong content type",
  drip: "slow, in pieces",
  delay: "a late answer",
};
const EFFECTS = { done: "done", replayed: "replayed", rejected: "rejected", prevented: "not reached" };
const LISTS = ["requests", "players", "ledger", "grants", "lobbies", "deliveries"];

const $ = (selector) => document.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

let requests = []; // oldest first
let world = null;
let clock = { now: 0, read: 0, running: true };
let rows = {}; // for each list, how many rows it may show
LISTS.forEach((name) => { rows[name] = STEP; });

// --- elements ---------------------------------------------------------------

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false).map(
    (child) => (child instanceof Node ? child : String(child))));
  return element;
}

const chip = (text, kind = "") => h("span", { class: `chip ${kind}` }, text);
const user = (text) => h("bdi", null, text); // text of users may run from right to left
const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
const signed = (amount) => (amount > 0 ? "+" : "−") + Math.abs(amount).toLocaleString("en");

function moment(text) {
  if (!text) return null;
  const iso = new Date(text).toISOString();
  return h("time", { datetime: iso, title: iso }, iso.slice(0, 19).replace("T", " "));
}

function playerLink(id, game) {
  return h("a", { href: `#players/${encodeURIComponent(game || world.keys[0].game_id)}/${encodeURIComponent(id)}`, class: "player" }, user(id));
}

function code(text, note) {
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch { /* shown as it is */ }
  return h("div", null, h("pre", { tabindex: "0" }, shown), note);
}

/** Fill a list. Elements of unchanged rows stay, with their focus and whether they are open. */
function fill(list, items, key, render) {
  const old = new Map([...list.children].map((node) => [node.dataset.key, node]));
  let next = list.firstElementChild;
  for (const item of items) {
    const id = String(key(item));
    const mark = JSON.stringify(item);
    let node = old.get(id);
    if (!node || node.mark !== mark) {
      const fresh = render(item);
      fresh.dataset.key = id;
      fresh.mark = mark;
      if (node) {
        if (next === node) next = fresh;
        replace(node, fresh);
      }
      node = fresh;
    }
    old.delete(id);
    if (next === node) next = node.nextElementSibling;
    else list.insertBefore(node, next);
  }
  old.forEach((node) => node.remove());
}

function replace(node, fresh) {
  const stops = (root) => all("a, button, summary, pre", root);
  const focused = stops(node).indexOf(document.activeElement);
  const open = new Set(all("details[open]", node).map((each) => each.dataset.id));
  all("details", fresh).forEach((each) => { each.open = open.has(each.dataset.id); });
  node.replaceWith(fresh);
  if (focused >= 0) stops(fresh)[focused]?.focus();
}

/** Show rows as a table; on a narrow screen each row is a block with labels. */
function table(root, items, columns, empty) {
  if (!items.length) {
    root.replaceChildren(h("p", { class: "empty" }, empty));
    return;
  }
  if (!root.querySelector("tbody")) {
    const heads = columns.map(([label, , kind]) => h("th", { scope: "col", class: kind }, label));
    root.replaceChildren(h("div", { class: "card scroll" },
      h("table", null, h("thead", null, h("tr", null, heads)), h("tbody", null))));
  }
  fill(root.querySelector("tbody"), items, (item) => item.number ?? item.id, (item) =>
    h("tr", null, columns.map(([label, cell, kind]) => h("td", { "data-label": label, class: kind }, h("div", null, cell(item))))));
}

function say(text, bad = false) {
  const toast = $("#toast");
  toast.textContent = text;
  toast.classList.toggle("bad", bad);
  toast.hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => { toast.hidden = true; }, bad ? 8000 : 3000);
}

// --- talking to the emulator --------------------------------------------------

async function call(method, path, body) {
  const answer = await fetch(`/_emulator/${path}`, {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  const members = await answer.json();
  if (!answer.ok) throw new Error(members.error.message);
  return members;
}

const get = (path, query = {}) => call("GET", `${path}?${new URLSearchParams(query)}`);

/** Perform the action of a button or a form, and show whether it succeeded. */
async function act(done, method, path, body) {
  try {
    await call(method, path, body);
    say(done);
    refresh(["settings"]);
  } catch (error) {
    say(error.message, true);
  }
}

// --- requests ------------------------------------------------------------------

async function loadRequests() {
  for (;;) {
    const after = requests.length ? requests[requests.length - 1].number : 0;
    const page = await get("requests", { after, max_body: BODY, limit: KEPT });
    requests = requests.concat(page).slice(-KEPT);
    if (page.length < KEPT) break;
  }
  showRequests();
}

/** Group the tries by path and idempotency key, the newest first. */
function groups() {
  const found = new Map();
  for (const each of requests) {
    const id = each.idempotency_key === null ? `${each.number}` : `${each.path} ${each.idempotency_key}`;
    if (!found.has(id)) found.set(id, { id, tries: [] });
    found.get(id).tries.push(each);
  }
  return [...found.values()].sort((a, b) => b.tries[b.tries.length - 1].number - a.tries[a.tries.length - 1].number);
}

function fits(group, text) {
  return group.tries.some((each) =>
    [each.idempotency_key, each.operation, decoded(each.path), each.request_id, each.body]
      .some((part) => part && part.toLowerCase().includes(text)));
}

function showRequests() {
  const text = $("#filter").value.trim().toLowerCase();
  const changesOnly = $("#changes-only").checked;
  const shown = groups().filter((group) =>
    (!changesOnly || group.tries[0].method !== "GET") && (!text || fits(group, text)));
  $("#start").hidden = requests.length > 0;
  const list = $("#request-list");
  if (requests.length && !shown.length) list.replaceChildren(h("p", { class: "empty" }, "No request fits the filter."));
  else {
    list.querySelector(":scope > .empty")?.remove();
    fill(list, shown.slice(0, rows.requests), (group) => group.id, requestCard);
  }
  $("[data-more=requests]").hidden = shown.length <= rows.requests;
}

/** The outcome of all tries of one key. It is shown first. */
function verdict(tries) {
  const changing = tries.filter((each) => each.entry_count);
  const entries = changing.flatMap((each) => each.entries);
  const noun = entries.every((each) => each.delta > 0) ? "mint" : "change";
  const count = plural(tries.length, "try", "tries");
  if (changing.length > 1) return [`${count}, ${plural(changing.length, noun)}`, "bad"];
  if (changing.length === 1) return [`${count}, 1 ${noun}`, "good"];
  if (tries.some((each) => each.effect === "done")) {
    return tries[0].method === "GET" ? null : [`${count}, done`, "good"];
  }
  if (tries.some((each) => each.effect === "replayed")) return [`${count}, nothing new`, ""];
  return [`${count}, no effect`, "warn"];
}

function requestCard({ tries }) {
  const [first] = tries;
  const entries = tries.flatMap((each) => each.entries);
  const entryCount = tries.reduce((sum, each) => sum + each.entry_count, 0);
  const mints = tries.filter((each) => each.entry_count).length;
  const found = verdict(tries);
  const player = /\/players\/([^/]+)/.exec(first.path);
  return h("article", { class: `card group ${found?.[1] ?? ""} ${found ? "" : "read"}` },
    h("div", { class: "head" },
      h("h3", null, first.operation ?? `${first.method} ${first.path}`),
      player && playerLink(decoded(player[1]), entries[0]?.game_id),
      first.idempotency_key !== null && h("span", { class: "key" }, "key ", h("code", null, user(first.idempotency_key))),
      found && h("strong", { class: `verdict ${found[1]}` }, found[0])),
    first.attempt > 1 && h("p", { class: "muted" }, `${plural(first.attempt - 1, "earlier try", "earlier tries")} no longer kept`),
    h("ol", { class: "tries" }, tries.map(tryRow)),
    entries.length > 0 && h("ul", { class: "entries", "aria-label": "Ledger entries" }, entries.map(entryLine),
      entryCount > entries.length && h("li", { class: "muted" }, `and ${entryCount - entries.length} more`)),
    mints > 1 && h("p", { class: "alarm" }, "This key changed the ledger more than once: Kraty had forgotten it before the repeat. Most keys are kept for 24 hours."));
}

function entryLine(entry) {
  return h("li", null,
    h("span", { class: `coin ${entry.delta > 0 ? "" : "minus"}`, "aria-hidden": "true" }),
    h("a", { href: "#ledger" }, `ledger #${entry.number}`), " ",
    h("strong", null, `${signed(entry.delta)} `, user(entry.key)), " ",
    playerLink(entry.external_player_id, entry.game_id),
    entry.reason && h("span", { class: "muted" }, " ", user(entry.reason)));
}

function tryRow(each) {
  const answer = each.status === null
    ? chip("answer lost", "warn")
    : chip(each.status, each.status < 300 ? "good" : each.status < 500 ? "warn" : "bad");
  const made = each.entry_count === 1 ? `ledger #${each.entries[0].number}` : plural(each.entry_count, "entry", "entries");
  const effect = each.entry_count ? made : EFFECTS[each.effect];
  return h("li", { class: each.entry_count ? "made" : each.effect },
    h("details", { "data-id": String(each.number) },
      h("summary", null,
        h("span", { class: "nth" }, each.idempotency_key === null ? each.method : `try ${each.attempt}`),
        moment(each.at), h("span", { class: "effect" }, effect), answer,
        each.fault && h("span", { class: "fault" }, faultText(each.fault))),
      h("div", { class: "inside" },
        h("p", null, h("code", null, `${each.method} ${each.path}`), " ", h("span", { class: "muted" }, each.request_id)),
        each.body && [h("h4", null, "Request"), part(each, "body")],
        each.answer && [h("h4", null, each.status === null ? "Answer that was lost" : "Answer"), part(each, "answer")])));
}

/** A body, with a button for the rest of a long one. */
function part(each, name) {
  const missing = each[`${name}_bytes`] > BODY;
  const box = code(each[name], missing && h("button", {
    type: "button",
    click: async () => {
      const [whole] = await get("requests", { after: each.number - 1, limit: 1 });
      if (whole?.number === each.number) box.replaceWith(code(whole[name]));
      else say("This request is no longer kept.", true);
    },
  }, `Show all ${each[`${name}_bytes`].toLocaleString("en")} bytes`));
  return box;
}

function faultText(fault) {
  const kind = fault.kind === "status" ? `status ${fault.status}` : fault.kind;
  return `${kind}, ${fault.when} the commit`;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

// --- the other views ---------------------------------------------------------------

const ENTRY_COLUMNS = [
  ["#", (each) => each.number, "number"],
  ["Time (UTC)", (each) => moment(each.at)],
  ["Player", (each) => playerLink(each.external_player_id, each.game_id)],
  ["Change", (each) => h("strong", { class: each.delta > 0 ? "plus" : "minus" }, `${signed(each.delta)} `, user(each.key))],
  ["Call", (each) => each.operation],
  ["Reason", (each) => user([each.reason, each.source_ref_id].filter(Boolean).join(", "))],
  ["Key", (each) => h("code", null, user(each.idempotency_key ?? ""))],
];

async function loadLedger() {
  const page = await get("ledger", { game_id: "*", order: "newest", limit: rows.ledger });
  table($("#ledger-list"), page, ENTRY_COLUMNS, "Nothing has changed yet.");
  more("ledger", page);
}

async function loadPlayers(game, id) {
  const select = $("#game");
  if (game && world.games.some((each) => each.id === game)) select.value = game;
  const list = $("#player-list");
  $("#player").hidden = id === undefined;
  list.hidden = id !== undefined;
  if (id !== undefined) {
    more("players", await showPlayer(select.value, id));
    return;
  }
  const page = await get("players", { game_id: select.value, prefix: $("#prefix").value, limit: rows.players });
  if (!page.length) list.replaceChildren(h("p", { class: "empty" }, "No players here. The first call about one creates them."));
  else {
    list.querySelector(":scope > .empty")?.remove();
    fill(list, page, (each) => each.id, (each) => h("article", { class: "card row" },
      playerLink(each.external_player_id, select.value), each.banned_at && chip("banned", "bad"), holdings(each)));
  }
  more("players", page);
}

function holdings(player) {
  const held = [...Object.entries(player.currencies), ...Object.entries(player.items).map(([key, count]) => [key, `× ${count.toLocaleString("en")}`])];
  if (!held.length) return h("span", { class: "muted" }, "holds nothing");
  return h("span", { class: "holdings" }, held.map(([key, amount]) => h("span", { class: "holding" }, user(key), " ", h("strong", null, amount.toLocaleString("en")))));
}

async function showPlayer(game, id) {
  const [[player], entries] = await Promise.all([
    get("players", { game_id: game, prefix: id, limit: 1 }),
    get("ledger", { game_id: game, external_player_id: id, order: "newest", limit: rows.players }),
  ]);
  const known = player?.external_player_id === id ? player : null;
  let box = $("#player .list");
  if (!box || box.dataset.id !== id) {
    box = h("div", { class: "list", "data-id": id }, h("div", null), h("div", null));
    $("#player").replaceChildren(box);
  }
  box.children[0].replaceWith(h("div", { class: "card" },
    h("div", { class: "head" }, h("h3", null, user(id)), known?.banned_at && chip("banned", "bad"),
      known ? h("span", { class: "muted" }, known.id) : chip("no such player now", "warn"),
      h("a", { href: "#players", class: "close" }, "All players")),
    known && [holdings(known), h("p", { class: "muted" }, "seen ", moment(known.seen_at), ", created ", moment(known.created_at))]));
  table(box.children[1], entries, ENTRY_COLUMNS.filter(([label]) => label !== "Player"), "No ledger entries.");
  return entries;
}

async function loadGrants() {
  const page = await get("grants", { limit: rows.grants });
  table($("#grant-list"), page, [
    ["Time (UTC)", (each) => moment(each.created_at)],
    ["Player", (each) => playerLink(each.external_player_id, each.game_id)],
    ["Contents", (each) => h("ul", { class: "plain" }, each.entries.map((entry) => h("li", null,
      `${(entry.amount ?? entry.quantity ?? "").toLocaleString("en")} `, user(entry.currencyKey ?? entry.itemKey ?? entry.crateItemKey), entry.type === "crate" && " (crate)")))],
    ["Status", (each) => (each.claimed_at ? chip("claimed", "good") : each.is_expired ? chip("expired", "warn") : chip("pending"))],
    ["Source", (each) => user([each.source_kind, each.source_ref_id].filter(Boolean).join(", "))],
    ["Key", (each) => h("code", null, user(each.idempotency_key))],
  ], "No grants yet.");
  more("grants", page);
}

async function loadLobbies() {
  const page = await get("lobbies", { limit: rows.lobbies });
  table($("#lobby-list"), page, [
    ["Time (UTC)", (each) => moment(each.created_at)],
    ["Event", (each) => each.event_key],
    ["Status", (each) => (each.is_closed ? chip("closed") : chip("active", "good"))],
    ["Ends", (each) => moment(each.ends_at)],
    ["Players", (each) => [`${each.player_count} of ${each.capacity}${each.bot_slots ? `, ${plural(each.bot_slots, "bot")}` : ""}: `,
      each.players.map((id, index) => [index > 0 && ", ", playerLink(id, each.game_id)])]],
    ["Key", (each) => h("code", null, user(each.key))],
  ], "No lobbies yet.");
  more("lobbies", page);
}

async function loadWebhooks() {
  const [page, now] = await Promise.all([
    get("deliveries", { order: "newest", limit: rows.deliveries }), get("world"),
  ]);
  $("#endpoints").textContent = now.webhooks.length
    ? `to ${now.webhooks.map((each) => `${each.url} (${each.events?.join(", ") ?? "all events"})`).join(" and ")}`
    : "no endpoint is registered";
  const list = $("#delivery-list");
  if (!page.length) list.replaceChildren(h("p", { class: "empty" }, "No deliveries yet. Add an endpoint, then change something."));
  else {
    list.querySelector(":scope > .empty")?.remove();
    fill(list, page, (each) => each.number, deliveryCard);
  }
  more("deliveries", page);
}

function deliveryCard(each) {
  const kind = { delivered: "good", failed: "bad", pending: "warn" }[each.status];
  const replay = () => act(`${each.event_name} is delivered again`, "POST", "replay", { event_id: each.event_id });
  return h("article", { class: "card group" },
    h("div", { class: "head" },
      h("h3", null, each.event_name), chip(each.status, kind),
      h("code", null, each.url), h("span", { class: "muted" }, each.event_id),
      h("button", { type: "button", click: replay, "aria-label": `Replay ${each.event_name} ${each.event_id}` }, "Replay")),
    each.status === "pending" && h("p", { class: "muted" }, "next attempt due ", moment(each.due_at)),
    h("ol", { class: "tries" }, each.attempts.map((attempt) => h("li", { class: attempt.status >= 200 && attempt.status < 300 ? "made" : "rejected" },
      h("details", { "data-id": String(attempt.attempt) },
        h("summary", null, h("span", { class: "nth" }, `attempt ${attempt.attempt}`), moment(attempt.at),
          attempt.status === null ? chip("no answer", "bad") : chip(attempt.status, attempt.status < 300 ? "good" : "bad"),
          attempt.error && h("span", { class: "fault" }, attempt.error)),
        h("div", { class: "inside" },
          h("h4", null, "X-Signature"), h("pre", { tabindex: "0" }, attempt.signature ?? "not sent, or no longer kept"),
          h("h4", null, "Body"), code(attempt.body)))))));
}

function loadWorld() {
  fill($("#games"), world.games, (game) => game.id, (game) => h("div", { class: "card" },
    h("h3", null, user(game.id)), h("p", { class: "muted" }, "of ", user(game.studio_id)),
    names("Currencies", game.currencies), names("Items", game.items),
    names("Events", game.events.map((event) => `${event.key} (${event.enabled ? event.mode : "disabled"})`))));
  table($("#keys"), world.keys, [
    ["Key", (key) => h("code", null, key.token)], ["Game", (key) => user(key.game_id)],
    ["Permissions", (key) => user(key.permission_set)], ["Environment", (key) => key.environment],
  ], "");
}

const names = (label, values) => h("p", null, h("span", { class: "muted" }, `${label} `),
  values.length ? values.map((value) => h("span", { class: "holding" }, user(value))) : "none");

function more(list, page) {
  $(`[data-more=${list}]`).hidden = page.length < rows[list] || rows[list] >= 1000;
}

// --- status and controls ----------------------------------------------------------------

async function loadStatus() {
  const [time, faults, limit] = await Promise.all([get("clock"), get("faults"), get("rate_limit")]);
  clock = { now: Date.parse(time.now), read: performance.now(), running: time.is_running };
  tick();
  const rules = faults.rules.map((rule) => `${rule.operation ?? "any call"}: ${rule.faults.map((each) => (each ? faultText(each) : "no fault")).join("; ")} (${left(rule)})`);
  const chaos = faults.chaos.filter((each) => each.rate > 0).map((each) => `${each.operation ?? "any call"}: chaos, ${Math.round(each.rate * 100)} %`);
  const rule = (text) => h("li", null, text);
  fill($("#rules"), rules.length ? rules : ["No faults are set."], (text) => text, rule);
  fill($("#chaos"), chaos, (text) => text, rule);
  const struck = Object.entries(faults.struck);
  fill($("#struck"), struck.length ? struck.map(([name, count]) => `${count} × ${name}`) : ["None."], (text) => text, rule);
  const strip = $("#strip");
  const active = [...rules, ...chaos];
  strip.hidden = !active.length;
  strip.replaceChildren(...(active.length ? [h("span", null, "Faults: ", active.join(" · ")), clearButton()] : []));
  const rate = $("#rate-form").elements.rate;
  if (document.activeElement !== rate) rate.value = limit.requests_per_minute;
}

const clearButton = () => h("button", { type: "button", click: clearFaults }, "Clear");
const clearFaults = () => act("No more faults", "DELETE", "faults");

function left(rule) {
  const skipped = rule.skip ? `after ${plural(rule.skip, "more call")}` : "";
  const times = rule.times === null ? "until cleared" : `${rule.times * rule.faults.length - rule.drawn} left`;
  return [times, skipped].filter(Boolean).join(", ");
}

function tick() {
  const now = clock.now + (clock.running ? performance.now() - clock.read : 0);
  $("#clock time").textContent = `${new Date(now).toISOString().slice(0, 19).replace("T", " ")} UTC`;
  const state = $("#clock .chip");
  state.textContent = clock.running ? "running" : "stopped";
  state.classList.toggle("warn", !clock.running);
}

function onForm(id, submit) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    submit(Object.fromEntries(new FormData(event.target)), event.target);
  });
}

function connectControls() {
  const kind = $("#fault-form").elements.kind;
  const showFields = () => all("[data-for]", $("#fault-form")).forEach((label) => {
    label.hidden = !label.dataset.for.split(" ").includes(kind.value);
  });
  kind.append(...[...world.fault_kinds].sort((a, b) => Object.keys(KINDS).indexOf(a) - Object.keys(KINDS).indexOf(b))
    .map((each) => h("option", { value: each }, `${each}: ${KINDS[each] ?? ""}`)));
  kind.addEventListener("change", showFields);
  showFields();
  all(".operations").forEach((select) => select.append(h("option", { value: "" }, "any call of the API"),
    ...world.operations.map((each) => h("option", { value: each }, each)), h("option", { value: "webhook" }, "deliveries of webhooks")));
  $("#endpoint-form").elements.events.append(...world.event_names.map((each) => h("option", { value: each }, each)));
  $("#game").append(...world.games.map((game) => h("option", { value: game.id }, game.id)));

  onForm("#fault-form", (form) => {
    const fault = { kind: form.kind, when: form.when };
    if (form.kind === "status") fault.status = Number(form.status);
    if (["stall", "drip", "delay"].includes(form.kind)) fault.seconds = Number(form.seconds);
    act("Fault added", "POST", "faults", {
      faults: [fault], operation: form.operation || null, skip: Number(form.skip), times: form.forever ? null : Number(form.times),
    });
  });
  onForm("#chaos-form", (form) => act("Chaos set", "POST", "chaos", {
    rate: Number(form.rate) / 100, seed: Number(form.seed), operation: form.operation || null,
  }));
  onForm("#clock-form", (form) => act("Clock set", "POST", "clock", { set: `${form.set}Z` }));
  onForm("#rate-form", (form) => act("Rate limit set", "POST", "rate_limit", { requests_per_minute: Number(form.rate) }));
  onForm("#endpoint-form", (form, element) => {
    const events = [...element.elements.events.selectedOptions].map((each) => each.value);
    act("Endpoint added", "POST", "webhooks", { url: form.url, secret: form.secret, events: events.length ? events : null });
  });
  $("#clear-faults").addEventListener("click", clearFaults);
  $("#run-clock").addEventListener("click", () => act("The clock runs", "POST", "clock", { run: true }));
  all("[data-advance]").forEach((button) => button.addEventListener("click",
    () => act(`Clock advanced: ${button.textContent}`, "POST", "clock", { advance: Number(button.dataset.advance) })));
  all("[data-lose]").forEach((button) => button.addEventListener("click",
    () => act("The answer will be lost", "POST", "faults", { faults: [{ kind: "drop" }], times: Number(button.dataset.lose) })));
  $("#reset").addEventListener("click", () => $("#ask").showModal());
  $("#ask-no").addEventListener("click", () => $("#ask").close());
  $("#ask-yes").addEventListener("click", () => {
    $("#ask").close();
    act("Everything is as it was at the start", "POST", "reset");
  });
}

// --- keeping up -------------------------------------------------------------------------

const VIEWS = {
  requests: () => showRequests(), players: loadPlayers, ledger: loadLedger, grants: loadGrants,
  lobbies: loadLobbies, webhooks: loadWebhooks, controls: () => {}, world: loadWorld,
};

function route() {
  const [name, ...rest] = location.hash.slice(1).split("/").map(decoded);
  return VIEWS[name] ? [name, rest] : ["requests", []];
}

function show() {
  const [name] = route();
  all("main > section").forEach((section) => { section.hidden = section.id !== name; });
  all("nav a").forEach((link) => {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
  document.title = `${$(`nav a[href="#${name}"]`).textContent} · Kraty emulator`;
  refresh([]);
}

const dirty = new Set();
let isLoading = false;

/** Load what has changed, and the open view. Changes that arrive meanwhile are loaded afterwards. */
async function refresh(topics) {
  topics.forEach((topic) => dirty.add(topic));
  dirty.add("view");
  if (isLoading) return;
  isLoading = true;
  while (dirty.size) {
    const news = new Set(dirty);
    dirty.clear();
    try {
      await load(news);
    } catch (error) { // the stream reports when the emulator is back, and all is loaded again
      say(`This could not be loaded: ${error.message}`, true);
    }
    await new Promise((resolve) => { setTimeout(resolve, GAP); });
  }
  isLoading = false;
}

async function load(news) {
  if (news.has("reset")) requests = [];
  if (news.has("reset") || news.has("requests")) await loadRequests();
  await loadStatus();
  const [name, rest] = route();
  await VIEWS[name](...rest);
}

let stream = null;

function listen() {
  stream?.close();
  stream = new EventSource("/_emulator/changes");
  stream.onopen = () => {
    link("live", "good");
    refresh(["reset"]); // changes may have been missed
  };
  stream.onmessage = (event) => {
    const topics = JSON.parse(event.data);
    if (topics.length) refresh(topics);
  };
  stream.onerror = () => {
    link("not connected", "bad");
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  };
}

function link(text, kind) {
  $("#link").textContent = text;
  $("#link").className = `chip ${kind}`;
}

async function start() {
  world = await get("world");
  const [key] = world.keys;
  const origin = location.origin;
  $("#origin").textContent = origin;
  $("#version").textContent = `kraty-admin ${world.version}`;
  all(".exports").forEach((each) => { each.textContent = `export KRATY_BASE_URL=${origin}\nexport KRATY_SERVER_KEY=${key.token}`; });
  $(".sample").textContent = "from kraty_admin import KratyAdmin\n\nwith KratyAdmin() as kraty:\n"
    + `    kraty.wallet.credit("player_42", "${world.games.find((game) => game.id === key.game_id).currencies[0] ?? "gold"}", amount=500, reason="iap")`;
  connectControls();
  all("[data-more]").forEach((button) => button.addEventListener("click", () => {
    rows[button.dataset.more] = Math.min(rows[button.dataset.more] + STEP, 1000);
    refresh([]);
  }));
  all("[data-copy]").forEach((button) => button.addEventListener("click", async () => {
    await navigator.clipboard.writeText($(`.${button.dataset.copy}`).textContent);
    say("Copied");
  }));
  ["#filter", "#changes-only"].forEach((each) => $(each).addEventListener("input", showRequests));
  $("#prefix").addEventListener("input", () => refresh([]));
  $("#game").addEventListener("change", () => { location.hash = "#players"; refresh([]); });
  addEventListener("hashchange", show);
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, dialog")) return;
    event.preventDefault();
    $("main > section:not([hidden]) input[type=search]")?.focus();
  });
  // A browser allows six connections for an origin, so hidden tabs keep none open.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stream?.close();
    else listen();
  });
  $(".skip").addEventListener("click", (event) => { // the fragment names the view
    event.preventDefault();
    $("#view").focus();
  });
  setInterval(tick, 1000);
  show();
  if (!document.hidden) listen();
}

start().catch((error) => say(`The console cannot start: ${error.message}`, true));
