// Reads the description of the interface and lets one try it.  No library, no other host; nothing of what
// comes from the server is ever used as markup.
"use strict";

const TOKEN = "tertulia.token";
const METHODS = ["get", "post", "put", "patch", "delete"];
const MAX_DEPTH = 6;
let api = null;

function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined) node.append(child);
  }
  return node;
}

// `code` between backticks; everything else is text.
function prose(text) {
  return (text || "").split("`").map((part, n) => (n % 2 ? el("code", {}, part) : part));
}

function resolve(schema) {
  let found = schema;
  while (found && found.$ref) {
    found = found.$ref.slice(2).split("/").reduce((at, part) => at[part], api);
  }
  return found || {};
}

const nameOf = (schema) => (schema && schema.$ref ? schema.$ref.split("/").pop() : "");

// --- schemas ---------------------------------------------------------------------------------------

function choices(schema) {
  return schema.anyOf || schema.oneOf || null;
}

function kindOf(schema) {
  const name = nameOf(schema);
  const found = resolve(schema);
  const some = choices(found);
  if (some) return some.length > 4 ? "one of many" : some.map(kindOf).join(" | ");
  if (name) return name;
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (found.type === "array") {
    const inner = kindOf(found.items || {});
    return inner.includes(" | ") ? `(${inner})[]` : `${inner}[]`;
  }
  if (found.type === "object" && found.additionalProperties) return `{ …: ${kindOf(found.additionalProperties)} }`;
  const bounds = [];
  if (found.minimum !== undefined) bounds.push(`≥ ${found.minimum}`);
  if (found.maximum !== undefined && found.maximum < 2 ** 53) bounds.push(`≤ ${found.maximum}`);
  if (found.minLength) bounds.push(`≥ ${found.minLength} long`);
  if (found.maxLength !== undefined) bounds.push(`≤ ${found.maxLength} long`);
  return (found.type || "any") + (bounds.length ? ` (${bounds.join(", ")})` : "");
}

// The schemas that can be opened below a field.
function below(schema) {
  const found = resolve(schema);
  const some = choices(found);
  if (some) return some.flatMap(below);
  if (found.type === "array") return below(found.items || {});
  if (found.properties) return [schema];
  if (found.additionalProperties && typeof found.additionalProperties === "object") return below(found.additionalProperties);
  return [];
}

function fields(schema, depth) {
  const found = resolve(schema);
  const needed = new Set(found.required || []);
  return el(
    "ul",
    {},
    Object.entries(found.properties || {}).map(([name, inner]) => {
      const line = [
        el("span", { class: "name" }, name),
        needed.has(name) ? el("span", { class: "need", title: "required" }, "*") : null,
        " ",
        el("span", { class: "kind" }, kindOf(inner)),
      ];
      const text = inner.description ? el("p", {}, prose(inner.description)) : null;
      const open = depth < MAX_DEPTH ? below(inner) : [];
      if (!open.length) return el("li", {}, line, text);
      return el("li", {}, lazy(line, () => open.map((one) => shape(one, depth + 1, open.length > 1))), text);
    }),
  );
}

function lazy(summary, make) {
  const details = el("details", {}, el("summary", {}, summary));
  details.addEventListener("toggle", () => { if (details.childElementCount === 1) details.append(...make()); });
  return details;
}

function shape(schema, depth, named) {
  const found = resolve(schema);
  return el(
    "div",
    {},
    named && nameOf(schema) ? el("span", { class: "name" }, nameOf(schema)) : null,
    found.description ? el("p", {}, prose(found.description)) : null,
    fields(schema, depth),
  );
}

function schemaView(schema) {
  const open = below(schema);
  return el(
    "div",
    { class: "schema" },
    el("span", { class: "kind" }, kindOf(schema)),
    open.map((one) => (open.length > 1 ? lazy([el("span", { class: "name" }, nameOf(one))], () => [shape(one, 1, false)]) : shape(one, 0, false))),
  );
}

// A value to begin with: what is required, and nothing else.
function sample(schema, depth = 0) {
  const found = resolve(schema);
  if (found.default !== undefined && found.default !== null) return found.default;
  if (found.const !== undefined) return found.const;
  if (found.enum) return found.enum[0];
  const some = choices(found);
  if (some) return sample(some[0], depth);
  if (found.type === "array") return Array.from({ length: found.minItems || 0 }, (_, n) => `${sample(found.items || {}, depth + 1)}${n + 1}`);
  if (found.type === "integer" || found.type === "number") return found.minimum || 0;
  if (found.type === "boolean") return false;
  if (found.type === "string") return "";
  if (depth > 4) return {};
  const made = {};
  for (const name of found.required || []) made[name] = sample(found.properties[name], depth + 1);
  return made;
}

// --- trying ----------------------------------------------------------------------------------------

const token = () => sessionStorage.getItem(TOKEN) || "";

function parameterField(parameter, id) {
  const schema = resolve(parameter.schema);
  const input = schema.enum
    ? el("select", { id, name: parameter.name }, parameter.required ? null : el("option", { value: "" }, "—"), schema.enum.map((one) => el("option", { value: one }, String(one))))
    : el("input", { id, name: parameter.name, autocomplete: "off", spellcheck: "false", placeholder: schema.default === undefined ? "" : String(schema.default) });
  return {
    node: el(
      "div",
      { class: "field" },
      el("label", { for: id }, parameter.name, parameter.required ? el("b", { title: "required" }, " *") : null),
      input,
      el("small", {}, `${parameter.in} · ${kindOf(parameter.schema)}`, parameter.description ? [" · ", prose(parameter.description)] : null),
    ),
    parameter,
    input,
  };
}

function build(path, method, inputs, body, secured) {
  let where = path;
  const query = new URLSearchParams();
  const headers = {};
  for (const { parameter, input } of inputs) {
    const value = input.value;
    if (parameter.in === "path") where = where.replace(`{${parameter.name}}`, encodeURIComponent(value));
    else if (value !== "" && parameter.in === "query") query.set(parameter.name, value);
    else if (value !== "" && parameter.in === "header") headers[parameter.name] = value;
  }
  if (secured && token()) headers.Authorization = `Bearer ${token()}`;
  if (body) headers["Content-Type"] = "application/json";
  return { url: where + (query.size ? `?${query}` : ""), method: method.toUpperCase(), headers, body: body ? body.value : undefined };
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

function curl(request) {
  const parts = ["curl", "-i"];
  if (request.method !== "GET") parts.push("-X", request.method);
  for (const [name, value] of Object.entries(request.headers)) {
    parts.push("-H", quoted(`${name}: ${name === "Authorization" ? "Bearer $TOKEN" : value}`).replace("'Authorization: Bearer $TOKEN'", '"Authorization: Bearer $TOKEN"'));
  }
  if (request.body !== undefined) parts.push("-d", quoted(request.body));
  parts.push(quoted(location.origin + request.url));
  return parts.join(" ");
}

async function show(answer, began, into, state) {
  const took = Math.round(performance.now() - began);
  const type = answer.headers.get("content-type") || "";
  const names = ["location", "ratelimit", "retry-after", "x-request-id"];
  const head = names.filter((name) => answer.headers.has(name)).map((name) => `${name}: ${answer.headers.get(name)}`);
  const text = el("pre", {});
  into.replaceChildren(
    el("p", {}, el("span", { class: `status ${answer.ok ? "good" : "bad"}` }, `${answer.status} ${answer.statusText}`), el("span", { class: "quiet" }, ` after ${took} ms`)),
    el("pre", {}, head.join("\n")),
    text,
  );
  if (type.startsWith("text/event-stream")) {
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    state.stop = () => reader.cancel();
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text.append(value);
      if (text.textContent.length > 200_000) text.textContent = text.textContent.slice(-100_000);
      text.scrollTop = text.scrollHeight;
    }
  }
  const body = await answer.text();
  try {
    text.textContent = JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    text.textContent = body.slice(0, 100_000);
  }
  if (!body) text.remove();
}

function tryIt(path, method, operation, parameters) {
  const id = operation.operationId;
  const inputs = parameters.map((one, n) => parameterField(one, `${id}-${n}`));
  const secured = operation.security === undefined || operation.security.length > 0;
  const media = operation.requestBody && operation.requestBody.content["application/json"];
  const body = media ? el("textarea", { spellcheck: "false", id: `${id}-body` }) : null;
  if (body) body.value = JSON.stringify(media.example !== undefined ? media.example : sample(media.schema), null, 2);
  const result = el("div", { "aria-live": "polite" });
  const state = { stop: null };
  const send = el("button", { class: "strong", type: "submit" }, "Send");
  const stop = el("button", { type: "button", hidden: true, onclick: () => state.stop && state.stop() }, "Stop");
  const copy = el("button", { type: "button" }, "Copy as curl");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(curl(build(path, method, inputs, body, secured)));
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy as curl"; }, 1500);
  });
  const form = el(
    "form",
    {},
    inputs.map((one) => one.node),
    body ? el("label", { for: `${id}-body`, class: "hidden" }, "Body") : null,
    body,
    el("div", { class: "go" }, send, stop, copy, secured && !token() ? el("span", { class: "quiet needs-token" }, "Sign in first.") : null),
    result,
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const request = build(path, method, inputs, body, secured);
    const streams = id === "stream_events";
    send.disabled = true;
    stop.hidden = !streams;
    try {
      const began = performance.now();
      await show(await fetch(request.url, request), began, result, state);
    } catch (error) {
      result.replaceChildren(el("p", { class: "status bad" }, `No answer: ${error.message}`));
    } finally {
      send.disabled = false;
      stop.hidden = true;
    }
  });
  return el("div", {}, el("h3", {}, "Try it"), form);
}

// --- the page --------------------------------------------------------------------------------------

function answersView(responses) {
  const before = new Set();
  return el(
    "dl",
    { class: "answers" },
    Object.entries(responses).flatMap(([status, response]) => {
      const found = resolve(response);
      const content = Object.values(found.content || {})[0];
      const key = JSON.stringify(content && content.schema);
      const shown = content && status < "300" && !before.has(key) ? schemaView(content.schema) : null;
      before.add(key);
      return [el("dt", { class: status < "300" ? "get" : "delete" }, status), el("dd", {}, prose(found.description), shown)];
    }),
  );
}

function operationView(path, method, operation) {
  const parameters = operation.parameters || [];
  const media = operation.requestBody && operation.requestBody.content["application/json"];
  const shown = path.split(/(\{[^}]+\})/).map((part) => (part.startsWith("{") ? el("i", {}, part) : part));
  const details = el(
    "details",
    { class: "operation", id: operation.operationId },
    el(
      "summary",
      {},
      el("span", { class: `method ${method}` }, method.toUpperCase()),
      el("span", { class: "path" }, shown),
      el("span", { class: "about" }, prose(operation.summary)),
      operation.security && operation.security.length === 0 ? el("span", { class: "open-to-all", title: "Needs no token" }, "public") : null,
    ),
  );
  details.addEventListener("toggle", () => {
    if (!details.open || details.childElementCount > 1) return;
    details.append(
      el(
        "div",
        { class: "inside" },
        el("div", { class: "wide" }, prose(operation.description)),
        tryIt(path, method, operation, parameters),
        el("div", {}, media ? [el("h3", {}, "Body"), schemaView(media.schema)] : null, el("h3", {}, "Answers"), answersView(operation.responses)),
      ),
    );
  });
  return details;
}

function intro() {
  const [first, ...rest] = (api.info.description || "").split("\n\n");
  const points = rest.join("\n").split(/^\* /m).slice(1).map((one) => el("li", {}, prose(one.replace(/\s+/g, " ").trim())));
  return el(
    "div",
    { class: "intro" },
    el("p", {}, prose(first)),
    el("ul", {}, points),
    el("p", {}, "The same for machines: ", el("a", { href: "/v1/openapi.json" }, "OpenAPI"), " for this, ", el("a", { href: "/v1/asyncapi.json" }, "AsyncAPI"), " for the WebSocket."),
  );
}

function render() {
  document.title = `${api.info.title}: API`;
  document.getElementById("title").textContent = api.info.title;
  document.getElementById("version").textContent = api.info.version;
  const main = document.getElementById("main");
  const nav = document.getElementById("nav");
  main.replaceChildren(intro());
  nav.replaceChildren();
  for (const tag of api.tags) {
    const group = [];
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS) {
        if (item[method] && item[method].tags.includes(tag.name)) group.push([path, method, item[method]]);
      }
    }
    if (!group.length) continue;
    nav.append(el("h2", {}, tag.name));
    main.append(el("h2", {}, tag.name), el("p", { class: "quiet" }, prose(tag.description)));
    for (const [path, method, operation] of group) {
      const name = operation.operationId.replaceAll("_", " ");
      nav.append(el("a", { href: `#${operation.operationId}`, title: path }, el("span", { class: `method ${method}` }, method.toUpperCase()), el("span", {}, name)));
      main.append(operationView(path, method, operation));
    }
  }
  openHash();
}

function openHash() {
  const target = location.hash ? document.getElementById(location.hash.slice(1)) : null;
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView({ block: "start" });
  }
}

function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const matches = (node) => words.every((word) => `${node.id} ${node.textContent}`.toLowerCase().includes(word));
  for (const node of document.querySelectorAll("details.operation")) {
    const summary = node.querySelector("summary");
    node.hidden = !matches({ id: node.id.replaceAll("_", " "), textContent: summary.textContent });
    const link = document.querySelector(`nav a[href="#${node.id}"]`);
    if (link) link.hidden = node.hidden;
  }
}

function signedIn(value, words) {
  if (value) sessionStorage.setItem(TOKEN, value);
  else sessionStorage.removeItem(TOKEN);
  document.getElementById("account").textContent = value ? "Signed in" : "Sign in";
  document.getElementById("sign-in-state").textContent = words;
  if (value) for (const node of document.querySelectorAll(".needs-token")) node.remove();
}

function wire() {
  const account = document.getElementById("account");
  const panel = document.getElementById("sign-in");
  account.addEventListener("click", () => {
    panel.hidden = !panel.hidden;
    account.setAttribute("aria-expanded", String(!panel.hidden));
    if (!panel.hidden) panel.querySelector("input").focus();
  });
  document.getElementById("sign-in-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const data = new FormData(event.target);
    const body = JSON.stringify({ login: data.get("login"), password: data.get("password"), device: "API page" });
    const answer = await fetch("/v1/sessions", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const found = await answer.json();
    if (answer.ok) {
      event.target.reset();
      signedIn(found.access_token, `Signed in; the token is good for ${Math.round(found.expires_in / 60)} minutes and is forgotten with this tab.`);
    } else {
      signedIn("", found.detail);
    }
  });
  document.getElementById("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const value = new FormData(event.target).get("token").trim();
    event.target.reset();
    signedIn(value, value ? "The token is used from now on." : "No token is used.");
  });
  const find = document.getElementById("find");
  find.addEventListener("input", () => filter(find.value));
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(input|textarea|select)$/i.test(document.activeElement.tagName)) {
      event.preventDefault();
      find.focus();
    }
  });
  window.addEventListener("hashchange", openHash);
  if (token()) signedIn(token(), "A token of this tab is in use.");
}

async function start() {
  wire();
  try {
    const answer = await fetch("/v1/openapi.json");
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    api = await answer.json();
    render();
  } catch (error) {
    document.getElementById("main").replaceChildren(el("p", { class: "status bad" }, `The description cannot be read: ${error.message}`));
  }
}

start();
