// Run by test_docs.py: the page's functions that know no page, on the server's own document.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import test from "node:test";

const book = JSON.parse(readFileSync(process.env.DOCUMENT, "utf8"));
const page = createRequire(import.meta.url)(process.env.PAGE);
const all = page.operations(book);
const named = (id) => all.find((one) => one.operationId === id);
console.log(book.openapi);

test("every route stands in exactly one group", () => {
  const shown = page.grouped(book).flatMap((group) => group.operations.map((one) => one.operationId));
  const there = Object.values(book.paths).flatMap((methods) => Object.values(methods).map((one) => one.operationId));
  assert.deepEqual([...shown].sort(), [...there].sort());
  assert.equal(new Set(shown).size, shown.length);
});

test("every body and answer has an example that is whole", () => {
  for (const operation of all) {
    const parts = [operation.requestBody, ...Object.values(operation.responses).map((one) => page.resolve(book, one))];
    for (const part of parts) {
      const content = part && part.content && part.content["application/json"];
      if (!content) continue;
      const made = page.example(book, content.schema);
      assert.equal(typeof made, "object", operation.operationId);
      assert.doesNotThrow(() => JSON.stringify(made));
      assert.ok(!JSON.stringify(made).includes("undefined"));
    }
  }
});

test("examples have the fields and the kinds of their schema", () => {
  const body = page.exampleBody(book, named("register").requestBody.content["application/json"].schema);
  assert.deepEqual(body, { email: "anna@example.org", password: "correct horse battery" });
  assert.deepEqual(page.exampleBody(book, { $ref: "#/components/schemas/NewMessage" }), { text: "Hello" });
  assert.deepEqual(Object.keys(page.exampleBody(book, { $ref: "#/components/schemas/NewConversation" })), ["type", "member_ids"]);
  assert.equal(page.exampleBody(book, { $ref: "#/components/schemas/NewReport" }).kind, "user"); // a kind that exists
  const profile = page.example(book, { $ref: "#/components/schemas/Profile" });
  assert.match(profile.id, /^[0-9a-f-]{36}$/);
  assert.match(profile.created_at, /^\d{4}-.*Z$/);
  assert.ok(Array.isArray(profile.interests));
  const failure = page.example(book, named("login").responses["401"].$ref ? page.resolve(book, named("login").responses["401"]).content["application/json"].schema : named("login").responses["401"].content["application/json"].schema);
  assert.equal(failure.error.code, "INVALID_CREDENTIALS");
  assert.ok("message" in failure.error && "timestamp" in failure);
  assert.equal(page.example(book, { type: "array", items: { type: "integer", minimum: 5 } })[0], 5);
  assert.equal(page.example(book, { anyOf: [{ type: "null" }, { type: "boolean" }] }), false);
});

test("a schema that holds itself ends", () => {
  const book = { components: { schemas: { Node: { type: "object", properties: { next: { $ref: "#/components/schemas/Node" }, all: { type: "array", items: { $ref: "#/components/schemas/Node" } } } } } } };
  assert.ok(page.example(book, { $ref: "#/components/schemas/Node" }).next);
});

test("types read as words", () => {
  assert.equal(page.typeName({ type: "string", format: "uuid" }), "uuid");
  assert.equal(page.typeName({ anyOf: [{ type: "string" }, { type: "null" }] }), "string or null");
  assert.equal(page.typeName({ type: "array", items: { $ref: "#/components/schemas/MessageView" } }), "list of MessageView");
  assert.equal(page.typeName({ enum: ["asc", "desc"] }), '"asc" or "desc"');
  assert.equal(page.typeName({ type: "object", additionalProperties: { type: "integer" } }), "map to integer");
  for (const schema of Object.values(book.components.schemas)) assert.notEqual(page.typeName(schema), "anything");
});

test("bounds are told with their unit", () => {
  assert.equal(page.bounds({ type: "string", minLength: 1, maxLength: 8 }), "at least 1 character, at most 8 characters");
  assert.equal(page.bounds({ type: "array", maxItems: 10, items: { type: "string", maxLength: 36 } }), "at most 10 items, at most 36 characters");
  assert.equal(page.bounds({ type: "integer", minimum: 0, default: 0 }), "at least 0, default 0");
  assert.equal(page.bounds({ type: "string", default: null }), "");
  assert.equal(page.bounds({ type: "integer", minimum: 1, maximum: 2 ** 53 }), "at least 1");
});

test("search finds paths, names and fields, and every word counts", () => {
  const found = (sought) => all.filter((one) => page.matches(book, one, sought)).map((one) => one.operationId);
  assert.equal(found("").length, all.length);
  assert.ok(found("refresh_token").includes("refresh"));
  assert.ok(found("POST conversations").includes("create_conversation"));
  assert.ok(!found("POST conversations").includes("list_conversations"));
  assert.ok(found("before_seq").includes("list_messages"));
  assert.deepEqual(found("no such word anywhere"), []);
});

test("errors are those of the route", () => {
  const codes = page.codes(book, named("register"));
  assert.ok(codes.some((one) => one.status === "409" && one.code === "EMAIL_TAKEN"));
  assert.ok(codes.some((one) => one.status === "413" && one.code === "PAYLOAD_TOO_LARGE"));
  assert.ok(!codes.some((one) => one.code === "USER_NOT_FOUND"));
});

test("a form becomes a request, and says what is missing", () => {
  const list = named("list_messages");
  assert.deepEqual(page.request("/api/v1", list, { limit: "5" }, "").missing, ["conversation_id"]);
  const asked = page.request("/api/v1", list, { conversation_id: " a/b ", limit: "5", cursor: "", "If-None-Match": '"x"' }, "T");
  assert.equal(asked.url, "/api/v1/conversations/a%2Fb/messages?limit=5");
  assert.deepEqual(asked.headers, { "If-None-Match": '"x"', Authorization: "Bearer T" });
  assert.equal(asked.body, undefined);
  const register = page.request("/api/v1", named("register"), {}, "", "{}");
  assert.deepEqual([register.method, register.headers, register.body], ["POST", { "Content-Type": "application/json" }, "{}"]);
});

test("a route that has no prefix is asked without", () => {
  assert.equal(page.request("/api/v1", { ...named("show_metrics"), servers: [{ url: "/" }] }, {}, "").url, "/metrics");
  assert.equal(page.request("/api/v1", named("show_health"), {}, "").url, "/api/v1/healthz");
});

test("the command is quoted for a shell", () => {
  const line = page.curl({ method: "POST", url: "/x", headers: { A: "b" }, body: "it's" }, "http://h");
  assert.equal(line, "curl -X POST 'http://h/x' -H 'A: b' -d 'it'\\''s'");
});

test("prose becomes pieces, and only links of our own", () => {
  assert.deepEqual(page.pieces("`a\nb`"), [{ kind: "code", text: "a\nb" }]);
  assert.deepEqual(page.pieces("a `b` **c** [d](/e) [f](https://g)").map((one) => [one.kind, one.text]), [
    ["", "a "], ["code", "b"], ["", " "], ["strong", "c"], ["", " "], ["a", "d"], ["", " "], ["", "[f](https://g)"],
  ]);
});
