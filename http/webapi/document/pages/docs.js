"use strict";
// Shows /openapi.json. Everything is made with textContent, so nothing in the document can become markup or script.
// The first half knows no page: node runs it in tests/webapi/docs_page_test.mjs.

const METHODS = ["get", "post", "put", "patch", "delete"];

function resolve(document, value) {
  while (value && value.$ref) {
    value = value.$ref.slice(2).split("/").reduce((at, key) => at[key.replace(/~1/g, "/").replace(/~0/g, "~")], document);
  }
  return value;
}

function operations(document) {
  const found = [];
  for (const [path, methods] of Object.entries(document.paths)) {
    for (const method of METHODS) {
      if (methods[method]) found.push({ path, method, ...methods[method] });
    }
  }
  return found;
}

function grouped(document) {
  const groups = document.tags.map((tag) => ({ ...tag, operations: [] }));
  for (const operation of operations(document)) {
    groups.find((group) => group.name === operation.tags[0]).operations.push(operation);
  }
  return groups;
}

function nameOf(ref) {
  return ref.slice(ref.lastIndexOf("/") + 1);
}

// A type as a person would write it: `uuid or null`, `list of MessageView`.
function typeName(schema) {
  if (!schema) return "anything";
  if (schema.$ref) return nameOf(schema.$ref);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return [...new Set(choices.map(typeName))].join(" or ");
  if (schema.allOf) return typeName(schema.allOf[0]);
  if (schema.type === "array") return "list of " + typeName(schema.items || (schema.prefixItems || [])[0]);
  if (schema.type === "object" && schema.additionalProperties) return "map to " + typeName(schema.additionalProperties);
  if (schema.format) return schema.format;
  return Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "anything";
}

const BOUNDS = [
  ["minimum", "at least"], ["maximum", "at most"], ["exclusiveMinimum", "more than"], ["exclusiveMaximum", "less than"],
  ["minLength", "at least", "characters"], ["maxLength", "at most", "characters"],
  ["minItems", "at least", "items"], ["maxItems", "at most", "items"],
];

function bounds(schema) {
  const told = [];
  for (const part of [schema, ...(schema.anyOf || []), ...(schema.items ? [schema.items] : [])]) {
    for (const [key, words, unit] of BOUNDS) {
      // 2^53 and beyond is only how far JSON counts exactly.
      if (part[key] !== undefined && part[key] < Number.MAX_SAFE_INTEGER) told.push([words, part[key], unit && part[key] === 1 ? unit.slice(0, -1) : unit].filter((word) => word !== undefined).join(" "));
    }
  }
  if (schema.default !== undefined && schema.default !== null) told.push("default " + JSON.stringify(schema.default));
  return [...new Set(told)].join(", ");
}

const WORDS = {
  email: "anna@example.org", password: "correct horse battery", current_password: "correct horse battery",
  new_password: "horse battery staple", username: "anna", display_name: "Anna", text: "Hello", bio: "Glad to be here",
  name: "Friends", device_id: "phone-1", access_token: "eyJhbGciOiJFZERTQSJ9…", token: "eyJhbGciOiJFZERTQSJ9…",
  request_id: "req_4f9d1c", emoji: "👍", type: undefined, kind: "user", status: "open",
};

// Bodies that require no field, and yet not any field will do: what a caller would send.
const SENT = { NewConversation: ["type", "member_ids"], NewMessage: ["text"], EnableTotp: ["password"], UpdateProfile: ["display_name", "bio"] };

// A value that fits, with names telling what text would stand there.
function example(document, schema, name = "", depth = 0) {
  if (!schema) return null;
  if (schema.$ref) return depth > 5 ? {} : example(document, resolve(document, schema), name, depth + 1);
  if (schema.examples) return schema.examples[0];
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum.includes(WORDS[name]) ? WORDS[name] : schema.enum[0];
  if (schema.allOf) {
    return schema.allOf.map((part) => example(document, part, name, depth + 1)).reduce(merged, undefined);
  }
  const choices = schema.anyOf || schema.oneOf;
  if (choices) return example(document, choices.find((one) => one.type !== "null") || choices[0], name, depth);
  if (schema.properties) {
    const made = {};
    for (const [key, part] of Object.entries(schema.properties)) made[key] = example(document, part, key, depth + 1);
    return made;
  }
  switch (Array.isArray(schema.type) ? schema.type[0] : schema.type) {
    case "object": return schema.additionalProperties ? { "…": example(document, schema.additionalProperties, "", depth + 1) } : {};
    case "array": return depth > 5 ? [] : [example(document, schema.items || (schema.prefixItems || [])[0] || {}, name.replace(/s$/, ""), depth + 1)];
    case "integer": return Math.max(schema.minimum || 0, 1);
    case "number": return Math.max(schema.minimum || 0, 0.5);
    case "boolean": return false;
    case "null": return null;
    default: return text(schema, name);
  }
}

function text(schema, name) {
  if (schema.format === "uuid") return "0192f3a0-7c1e-7abc-8def-0123456789ab";
  if (schema.format === "date-time") return "2026-11-20T07:00:00.000Z";
  return WORDS[name] || "…".padEnd(schema.minLength || 1, "…");
}

function merged(one, other) {
  if (one === undefined || typeof other !== "object" || other === null) return other === undefined ? one : other;
  const both = { ...one };
  for (const [key, value] of Object.entries(other)) both[key] = key in both ? merged(both[key], value) : value;
  return both;
}

// What a caller would send: required fields, and those with nothing better to assume.
function exampleBody(document, schema) {
  const whole = resolve(document, schema);
  const all = example(document, schema);
  const required = new Set(whole.required && whole.required.length ? whole.required : SENT[whole.title]);
  if (!required.size) return all;
  return Object.fromEntries(Object.entries(all).filter(([key]) => required.has(key)));
}

// Every word must stand somewhere: in the path, the words or the names of the fields.
function matches(document, operation, sought) {
  const fields = [];
  for (const body of bodies(operation)) {
    fields.push(typeName(body), ...Object.keys(resolve(document, body).properties || {}));
  }
  const names = (operation.parameters || []).map((parameter) => parameter.name);
  const all = [operation.method, operation.path, operation.summary, operation.operationId, ...operation.tags, ...names, ...fields];
  const heap = all.join(" ").toLowerCase();
  return sought.toLowerCase().split(/\s+/).every((word) => heap.includes(word));
}

function bodies(operation) {
  const contents = [operation.requestBody, ...Object.values(operation.responses)].map((part) => part && part.content);
  return contents.map((content) => content && content["application/json"] && content["application/json"].schema).filter(Boolean);
}

function codes(document, operation) {
  const found = [];
  for (const [status, answer] of Object.entries(operation.responses)) {
    const schema = ((resolve(document, answer).content || {})["application/json"] || {}).schema || {};
    const failing = (schema.anyOf || [schema]).find((one) => one.allOf && nameOf(one.allOf[0].$ref || "") === "Failure");
    if (failing) for (const code of failing.allOf[1].properties.error.properties.code.enum) found.push({ status, code });
  }
  return found;
}

// Where a form goes, or what is missing from it.
function request(prefix, operation, values, token, body) {
  const base = (operation.servers ? operation.servers[0].url : prefix).replace(/\/$/, "");
  const missing = [];
  const query = new URLSearchParams();
  const headers = {};
  let path = operation.path;
  for (const parameter of operation.parameters || []) {
    const value = (values[parameter.name] || "").trim();
    if (parameter.in === "path") {
      if (!value) missing.push(parameter.name);
      path = path.replace("{" + parameter.name + "}", encodeURIComponent(value));
    } else if (value && parameter.in === "query") query.set(parameter.name, value);
    else if (value) headers[parameter.name] = value;
  }
  if (token) headers.Authorization = "Bearer " + token;
  if (operation.requestBody && body) headers["Content-Type"] = "application/json";
  const asked = query.toString();
  return { missing, url: base + path + (asked ? "?" + asked : ""), method: operation.method.toUpperCase(), headers, body: operation.requestBody ? body : undefined };
}

function curl(asked, origin) {
  const parts = ["curl", "-X", asked.method, quoted(origin + asked.url)];
  for (const [name, value] of Object.entries(asked.headers)) parts.push("-H", quoted(`${name}: ${value}`));
  if (asked.body) parts.push("-d", quoted(asked.body));
  return parts.join(" ");
}

function quoted(word) {
  return "'" + word.replace(/'/g, "'\\''") + "'";
}

// `code`, **strong** and [links](/to) of a paragraph, as pieces.
function pieces(words) {
  return words.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))/).filter(Boolean).map((part) => {
    const link = part.match(/^\[([^\]]+)\]\((\/[^)]*|#[^)]*)\)$/);
    if (link) return { kind: "a", text: link[1], href: link[2] };
    if (/^`.+`$/s.test(part)) return { kind: "code", text: part.slice(1, -1) };
    if (/^\*\*.+\*\*$/s.test(part)) return { kind: "strong", text: part.slice(2, -2) };
    return { kind: "", text: part };
  });
}

if (typeof module !== "undefined") {
  module.exports = { resolve, operations, grouped, typeName, bounds, example, exampleBody, matches, codes, request, curl, pieces };
} else {
  start();
}

// -- the page ------------------------------------------------------------------------------------------------------

function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made && typeof value !== "string") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function prose(words) {
  return pieces(words).map((piece) => {
    if (!piece.kind) return piece.text;
    return make(piece.kind, piece.href ? { href: piece.href } : {}, piece.text);
  });
}

function paragraphs(words) {
  return words.split(/\n\s*\n/).map((part) => make("p", {}, ...prose(part.trim())));
}

function table(caption, heads, rows) {
  const head = make("tr", {}, ...heads.map((one) => make("th", { scope: "col" }, one)));
  const lines = rows.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, ...[cell].flat()))));
  return make("div", { class: "scroll" }, make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...lines)));
}

function shownType(schema) {
  const name = typeName(schema);
  const known = name.match(/^(list of |map to )?([A-Z]\w*)( or null)?$/);
  if (!known) return make("code", {}, name);
  return make("code", {}, known[1] || "", make("a", { href: "#schema-" + known[2] }, known[2]), known[3] || "");
}

function fieldTable(caption, schema) {
  const required = new Set(schema.required || []);
  return table(caption, ["field", "type", "", "bounds"], Object.entries(schema.properties || {}).map(([name, part]) => [
    make("code", {}, name), shownType(part), required.has(name) ? make("span", { class: "required" }, "always") : "if any",
    bounds(part),
  ]));
}

function parameterTable(operation) {
  return table("Parameters", ["name", "in", "type", "meaning"], operation.parameters.map((one) => [
    [make("code", {}, one.name), one.required ? make("span", { class: "required" }, " required") : ""], one.in,
    make("code", {}, typeName(one.schema)), prose([one.description || one.schema.description, bounds(one.schema)].filter(Boolean).join("; ")),
  ]));
}

function shownBody(book, title, schema, made) {
  const whole = resolve(book, schema);
  const parts = [make("h4", {}, title + " ", shownType(schema))];
  if (whole.description) parts.push(...paragraphs(whole.description));
  if (whole.properties) parts.push(fieldTable("Fields", whole));
  parts.push(make("pre", { tabindex: "0", "aria-label": "Example" }, make("code", {}, JSON.stringify(made, null, 2))));
  return parts;
}

function answers(book, operation) {
  const parts = [];
  for (const [status, one] of Object.entries(operation.responses)) {
    const answer = resolve(book, one);
    if (Number(status) >= 400 && status !== "503") continue;
    for (const [kind, content] of Object.entries(answer.content || { "": {} })) {
      const schema = content.schema && content.schema.anyOf ? content.schema.anyOf[0] : content.schema;
      if (schema && schema.allOf) continue;
      if (kind === "application/json") parts.push(...shownBody(book, `${status} ${answer.description}:`, schema, example(book, schema)));
      else parts.push(make("h4", {}, `${status} ${answer.description}` + (kind ? `: ${kind}` : "")));
    }
  }
  const failing = codes(book, operation).map(({ status, code }) => [status, make("a", { href: "#errors" }, make("code", {}, code))]);
  parts.push(make("details", {}, make("summary", {}, `${failing.length} errors it may answer`), table("Errors", ["status", "code"], failing)));
  return parts;
}

function tryForm(book, operation, token) {
  const fields = make("div", { class: "fields" });
  for (const one of operation.parameters || []) {
    const value = one.in === "path" && one.name === "user_id" ? "me" : "";
    fields.append(make("label", {}, one.name + (one.required ? " (required)" : ""), make("input", { name: one.name, value, autocomplete: "off" })));
  }
  const body = operation.requestBody ? make("textarea", { name: "body", spellcheck: "false", "aria-label": "Body in JSON" }) : null;
  if (body) body.value = JSON.stringify(exampleBody(book, operation.requestBody.content["application/json"].schema), null, 2);
  const answer = make("div", { role: "status", "aria-live": "polite" });
  const form = make("form", { class: "try", "aria-label": `Try ${operation.method} ${operation.path}` }, make("h3", {}, "Try it"), fields, body, make("p", {}, make("button", { class: "go" }, "Send")), answer);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form));
    const asked = request(book.servers[0].url, operation, values, token.value.trim(), body && body.value);
    if (asked.missing.length) {
      answer.replaceChildren(make("p", { class: "status bad" }, "Missing: " + asked.missing.join(", ")));
      form.elements[asked.missing[0]].focus();
    } else answer.replaceChildren(...(await sent(asked, token)));
  });
  return form;
}

async function sent(asked, token) {
  const begun = performance.now();
  const line = make("details", {}, make("summary", {}, "as a command"), make("pre", {}, make("code", {}, curl(asked, location.origin))));
  try {
    const got = await fetch(asked.url, { method: asked.method, headers: asked.headers, body: asked.body, credentials: "omit", cache: "no-store" });
    let words = await got.text();
    try {
      const value = JSON.parse(words);
      words = JSON.stringify(value, null, 2);
      if (value && value.access_token && !token.value) token.value = value.access_token; // signed in by this form
    } catch { /* not JSON: shown as it is */ }
    const heads = [...got.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    return [
      make("p", { class: "status " + (got.ok ? "good" : "bad") }, `${[got.status, got.statusText].filter(Boolean).join(" ")}, ${Math.round(performance.now() - begun)} ms`),
      make("pre", { tabindex: "0", "aria-label": "Answer" }, make("code", {}, words || "(no body)")),
      make("details", {}, make("summary", {}, "headers"), make("pre", {}, make("code", {}, heads))), line,
    ];
  } catch (error) {
    return [make("p", { class: "status bad" }, `No answer: ${error.message}`), line];
  }
}

function card(book, operation, token) {
  const summary = make("summary", {}, make("span", { class: "method " + operation.method }, operation.method), make("span", { class: "path" }, operation.path),
    make("span", { class: "gist" }, ...prose(operation.summary)), operation.security.length ? make("span", { class: "badge" }, "token") : null);
  const made = make("details", { class: "route", id: operation.operationId }, summary);
  // Filled when it is first opened: a hundred routes with their tables are slow to lay out, and nobody reads them all.
  made.addEventListener("toggle", () => {
    if (made.childElementCount > 1) return;
    const inside = make("div", { class: "inside" }, ...paragraphs(operation.description || ""));
    if (operation.parameters.length) inside.append(parameterTable(operation));
    if (operation.requestBody) {
      const schema = operation.requestBody.content["application/json"].schema;
      inside.append(...shownBody(book, operation.requestBody.required ? "Body:" : "Body, if any:", schema, exampleBody(book, schema)));
    }
    inside.append(...answers(book, operation), tryForm(book, operation, token));
    made.append(inside);
  });
  return made;
}

function openNamed() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!named) return;
  if (named.tagName === "DETAILS") named.open = true;
  named.scrollIntoView({ behavior: "instant" });
}

function themes() {
  const button = document.getElementById("theme");
  const dark = () => (document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const show = () => button.setAttribute("aria-pressed", String(dark()));
  try { document.documentElement.dataset.theme = localStorage.getItem("theme") || ""; } catch { /* storage may be forbidden */ }
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* as above */ }
    show();
  });
  show();
}

function searching(book, shown) {
  const search = document.getElementById("search");
  search.addEventListener("input", () => {
    let count = 0;
    for (const { operation, parts } of shown) {
      const fits = matches(book, operation, search.value.trim());
      count += fits ? 1 : 0;
      for (const part of parts) part.hidden = !fits;
    }
    for (const group of document.querySelectorAll("[data-group]")) group.hidden = !group.querySelector("[data-route]:not([hidden])");
    document.getElementById("found").textContent = search.value.trim() ? `${count} of ${shown.length} routes` : "";
  });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, textarea, select")) {
      event.preventDefault();
      search.focus();
    } else if (event.key === "Escape" && event.target === search) {
      search.value = "";
      search.dispatchEvent(new Event("input"));
    }
  });
}

function show(book) {
  const token = document.getElementById("token");
  const contents = document.getElementById("contents");
  const routes = document.getElementById("routes");
  const shown = [];
  document.getElementById("version").textContent = `OpenAPI ${book.openapi}`;
  document.getElementById("about").append(make("h2", {}, book.info.title), ...paragraphs(book.info.description));
  const list = (name) => make("ul", { "aria-label": name });
  for (const group of grouped(book)) {
    const entries = list(group.name);
    const cards = make("section", { "data-group": "" }, make("h2", { id: "tag-" + group.name }, group.name), ...paragraphs(group.description));
    for (const operation of group.operations) {
      const link = make("li", { "data-route": "" }, make("a", { href: "#" + operation.operationId, title: operation.summary }, make("span", { class: "method " + operation.method }, operation.method), make("span", { class: "path" }, operation.path)));
      const made = card(book, operation, token);
      made.dataset.route = "";
      entries.append(link);
      cards.append(made);
      shown.push({ operation, parts: [link, made] });
    }
    contents.append(make("div", { "data-group": "" }, make("h2", {}, group.name), entries));
    routes.append(cards);
  }
  const errors = book["x-error-codes"].map((row) => [String(row.status), make("code", {}, row.code), row.text, row.retryable ? "yes" : ""]);
  document.getElementById("errors").append(make("h2", {}, "Errors"), table("Every code there is", ["status", "code", "text", "try again"], errors));
  const schemas = document.getElementById("schemas");
  schemas.append(make("h2", {}, "Schemas"));
  for (const [name, schema] of Object.entries(book.components.schemas)) {
    const parts = [make("h3", { id: "schema-" + name }, name), ...paragraphs(schema.description || "")];
    if (schema.properties) parts.push(fieldTable(name, schema));
    else parts.push(make("p", {}, make("code", {}, typeName(schema))));
    schemas.append(...parts);
  }
  searching(book, shown);
}

async function start() {
  themes();
  const main = document.getElementById("main");
  try {
    show(await (await fetch("/openapi.json")).json());
  } catch (error) {
    main.prepend(make("p", { role: "alert", class: "bad" }, `The document could not be read: ${error.message}`));
    throw error;
  } finally {
    main.setAttribute("aria-busy", "false");
  }
  addEventListener("hashchange", openNamed);
  openNamed();
}
