// The requests that a JavaScript backend would send for each case of cases.json:
//
//     node tests/parity/expected.mjs > tests/parity/expected.json
//
// Targets come from encodeURIComponent and bodies from JSON.stringify, so that the
// engine, and not somebody's idea of it, says which bytes are right.
import { readFileSync } from "node:fs";

const ROOT = "/server/v1";
const KEY = "idempotencyKey";

const get = (path, query = []) => ({ method: "GET", path, query, fields: [], defaults: {} });
const post = (path, fields, defaults = {}) => ({
  method: "POST",
  path,
  query: [],
  fields,
  defaults,
});

const item = ["quantity", "reason", "sourceRefId", KEY];
const attempt = "/players/{externalId}/events/{eventKey}/attempts/{attemptId}";
const currency = ["amount", "reason", "sourceRefId", KEY];

// Fields in the order in which they are documented to go out.
const operations = {
  "grants.create": post(
    "/players/{externalId}/grants",
    [KEY, "kind", "entries", "sourceKind", "expiresAt", "sourceRefId", "metadata"],
    { kind: "reward", sourceKind: "api" },
  ),
  "grants.ack": post("/players/{externalId}/grants/{grantId}/ack", [KEY]),
  "inventory.grant": post("/players/{externalId}/inventory/{itemKey}/grant", item),
  "inventory.revoke": post("/players/{externalId}/inventory/{itemKey}/revoke", item),
  "wallet.credit": post("/players/{externalId}/wallet/{economyKey}/credit", currency),
  "wallet.debit": post("/players/{externalId}/wallet/{economyKey}/debit", currency),
  "lobbies.push": post("/games/{gameId}/events/{eventKey}/lobbies", [
    "key",
    "externalPlayerIds",
    "capacity",
    "fillBots",
    "metadata",
    KEY,
  ]),
  "lobbies.read": get("/games/{gameId}/lobbies/{lobbyId}"),
  "players.get": get("/players/{externalId}", ["limit"]),
  "players.delete": post("/players/{externalId}/delete", ["reason", KEY]),
  "players.export": get("/players/{externalId}/export"),
  "players.ban": post("/players/{externalId}/ban", ["reason", KEY]),
  "players.unban": post("/players/{externalId}/unban", [KEY]),
  "players.merge": post("/players/{fromExternalId}/merge-into/{toExternalId}", [KEY]),
  "migrate.players": post("/migrate/players", ["rows", KEY]),
  "migrate.wallet": post("/migrate/wallet", ["rows", KEY]),
  "migrate.inventory": post("/migrate/inventory", ["rows", KEY]),
  "health.ping": get("/ping"),
  "leaderboards.submit_score": post("/leaderboards/{key}/score", [
    "externalPlayerId",
    "value",
    "segment",
    KEY,
  ]),
  "events.report_progress": post(`${attempt}/progress`, [
    "mode",
    "metricValue",
    "metrics",
    "occurredAt",
    KEY,
  ]),
  "events.finish": post(`${attempt}/finish`, [KEY]),
  "players.set_identity": {
    ...post("/players/{externalId}/identity", ["name", "avatar", KEY]),
    method: "PUT",
  },
  "players.friends": get("/players/{externalId}/friends"),
  "players.friend_requests": get("/players/{externalId}/friends/requests"),
  "players.blocks": get("/players/{externalId}/blocks"),
};

function request({ id, operation: name, js }, generatedKey) {
  const operation = operations[name];
  const values = new Function(`"use strict"; return (${js});`)();

  // A misspelt value would silently be left out on both sides.
  const inPath = [...operation.path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
  const known = [...inPath, ...operation.query, ...operation.fields];
  const unknown = Object.keys(values).filter((value) => !known.includes(value));
  const lacking = inPath.filter((value) => !(value in values));
  if (unknown.length || lacking.length) {
    throw new Error(`${id}: unknown [${unknown}], lacking [${lacking}]`);
  }

  const path = operation.path.replace(/\{(\w+)\}/g, (_, value) =>
    encodeURIComponent(values[value]),
  );
  const query = operation.query
    .filter((value) => values[value] !== undefined)
    .map((value) => `${value}=${encodeURIComponent(values[value])}`)
    .join("&");
  const target = ROOT + path + (query && `?${query}`);
  if (operation.method === "GET") {
    return { id, method: "GET", target, body: null };
  }
  const body = {};
  for (const field of operation.fields) {
    const value = field in values ? values[field] : operation.defaults[field];
    if (value !== undefined) body[field] = value;
  }
  body[KEY] ??= generatedKey;
  return { id, method: operation.method, target, body: JSON.stringify(body) };
}

const { generatedKey, cases } = JSON.parse(
  readFileSync(new URL("cases.json", import.meta.url), "utf8"),
);
const lines = cases.map((each) => `  ${JSON.stringify(request(each, generatedKey))}`);
console.log(`[\n${lines.join(",\n")}\n]`);
