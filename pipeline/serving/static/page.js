// The search page. All text from outside is set as text, never as markup; every answer is JSON of /api.
"use strict";

const COUNT = 60;
const TOPS = [5, 10, 20, 50, 100, 200];
const part = (id) => document.getElementById(id);
const state = { about: null, asked: null, cameras: new Set(), where: "", start: 0, search: 0, list: 0 };

function element(name, options = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(options)) {
    if (key === "text") made.textContent = value;
    else if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

const number = (value) => value.toLocaleString("en-US");
const counted = (value, one, many) => `${number(value)} ${value === 1 ? one : many}`;

async function ask(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch {
    throw new Error("The server does not answer. Was it stopped? Start ccaf-pipeline search --serve again.");
  }
  const value = await answer.json().catch(() => ({ error: `The server answers with status ${answer.status}.` }));
  if (!answer.ok) throw new Error(value.error || `The server answers with status ${answer.status}.`);
  return value;
}

function words() {
  const found = new URLSearchParams();
  for (const camera of state.cameras) found.append("camera", camera);
  if (state.where) found.set("where", state.where);
  return found;
}

function complain(error) {
  part("error").textContent = error.message;
  part("error").hidden = false;
}

function picture(row, name) {
  const image = element("img", { src: `/api/pictures/${row}`, alt: name, loading: "lazy", decoding: "async" });
  image.addEventListener("error", () => image.replaceWith(element("span", { class: "none", text: "no picture" })));
  return image;
}

function ids(item) {
  const known = [["person", item.person_id], ["camera", item.camera_id], ["clothes", item.clothes_id]];
  return known.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => `${name} ${value}`);
}

function card(item, mark, kind, lines) {
  const name = item.image_id || `row ${item.row}`;
  const frame = element("div", { class: "frame" });
  if (mark) frame.append(element("span", { class: "mark", text: mark }));
  frame.append(picture(item.row, name));
  const told = element("div", { class: "lines" }, ...lines);
  told.append(element("span", { class: "mono", text: name }));
  for (const line of ids(item)) told.append(element("span", { text: line }));
  const button = element("button", { type: "button", class: "pick", title: `Search for ${name}` }, frame, told);
  button.addEventListener("click", () => searchRow(item.row));
  return element("li", { class: `hit ${kind}`, "data-row": item.row }, button);
}

function queryCard(query) {
  if (query.row !== undefined) return card(query, "query", "query", []);
  const frame = element("div", { class: "frame" }, element("span", { class: "mark", text: "query" }));
  frame.append(element("img", { src: query.picture, alt: "the photo" }));
  return element("li", { class: "hit query" }, frame, element("div", { class: "lines" }, element("span", { text: "your photo" })));
}

function hitCard(hit, query) {
  const known = query.person_id !== undefined && query.person_id !== null && hit.person_id !== null;
  const right = hit.person_id === query.person_id;
  const mark = known ? `${right ? "✓" : "✗"} ${hit.rank}` : `${hit.rank}`;
  const line = element("span", { class: "value", text: `similarity ${hit.similarity.toFixed(3)}` });
  return card(hit, mark, known ? (right ? "right" : "wrong") : "", [line]);
}

function showResults(found) {
  const legend = found.query.person_id === undefined || found.query.person_id === null ? ""
    : " A tick in a full green frame is the query's person, a cross in a dashed red frame someone else.";
  part("found").textContent = `The nearest of ${counted(found.searched, "image", "images")} that were compared, by the cosine of their features.${legend}`;
  part("strip").replaceChildren(queryCard(found.query), ...found.hits.map((hit) => hitCard(hit, found.query)));
  for (const item of part("grid").children)
    item.classList.toggle("asked", Number(item.dataset.row) === found.query.row);
}

async function search(move) {
  if (state.asked === null) return;
  const turn = ++state.search;
  const query = words();
  query.set("top", part("top").value);
  part("results").classList.add("busy");
  part("error").hidden = true;
  try {
    const found = "row" in state.asked
      ? await ask(`/api/search/${state.asked.row}?${query}`)
      : await ask(`/api/search?${query}`, { method: "POST", body: state.asked.photo });
    if (turn !== state.search) return;  // asked for something else meanwhile
    showResults(found);
    part("results").hidden = false;
    if (move) part("results").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (turn === state.search) complain(error);
  } finally {
    if (turn === state.search) part("results").classList.remove("busy");
  }
}

function searchRow(row) {
  state.asked = { row };
  history.replaceState(null, "", `#row=${row}`);
  search(true);
}

function searchPhoto(photo) {
  if (!photo || !state.about || !state.about.photos) return;
  const most = state.about.most_bytes;
  if (photo.size > most) {
    complain(new Error(`A photo may have ${most / 2 ** 20} MiB, and this one has ${(photo.size / 2 ** 20).toFixed(1)}.`));
    return;
  }
  state.asked = { photo };
  history.replaceState(null, "", location.pathname);
  search(true);
}

async function showGallery() {
  const turn = ++state.list;
  const query = words();
  query.set("start", state.start);
  query.set("count", COUNT);
  try {
    const found = await ask(`/api/rows?${query}`);
    if (turn !== state.list) return;
    const asked = state.asked && "row" in state.asked ? state.asked.row : -1;
    part("grid").replaceChildren(...found.rows.map((item) => card(item, "", item.row === asked ? "asked" : "", [])));
    const last = found.start + found.rows.length;
    part("shown").textContent = `${counted(found.total, "image", "images")}; click one to search for it.`;
    part("place").textContent = `${number(found.start + 1)}–${number(last)} of ${number(found.total)}`;
    part("before").disabled = found.start === 0;
    part("after").disabled = last >= found.total;
  } catch (error) {
    if (turn === state.list) complain(error);
  }
}

function refresh() {
  part("error").hidden = true;
  state.start = 0;
  return Promise.all([showGallery(), search(false)]);
}

function addCameras(cameras) {
  part("cameras").hidden = cameras.length < 2;
  for (const camera of cameras) {
    const chip = element("button", { type: "button", class: "chip", "aria-pressed": "false", "data-camera": camera.value });
    chip.append(element("span", { text: camera.value }), element("span", { class: "count", text: number(camera.images) }));
    chip.addEventListener("click", () => {
      const chosen = chip.getAttribute("aria-pressed") !== "true";
      chip.setAttribute("aria-pressed", String(chosen));
      if (chosen) state.cameras.add(camera.value);
      else state.cameras.delete(camera.value);
      refresh();
    });
    part("chips").append(chip);
  }
}

function listenForPhotos() {
  const drop = part("drop");
  const file = part("file");
  if (!state.about.photos) {
    drop.classList.add("off");
    file.disabled = true;
    part("drop-title").textContent = "Click an image of the gallery";
    part("drop-note").textContent = state.about.reason;
  }
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, () => drop.classList.add("over"));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));
  // also beside the field: a browser would leave the page for the file
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    searchPhoto(event.dataTransfer.files[0]);
  });
  file.addEventListener("change", () => {
    searchPhoto(file.files[0]);
    file.value = "";  // the same file may be chosen again
  });
  drop.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") file.click();
  });
}

function listenForFilters() {
  part("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    state.where = part("where").value.trim();
    refresh();
  });
  part("top").addEventListener("change", () => search(false));
  for (const [id, step] of [["before", -COUNT], ["after", COUNT]]) {
    part(id).addEventListener("click", async () => {
      state.start = Math.max(0, state.start + step);
      await showGallery();
      part("gallery").scrollIntoView({ block: "start" });
    });
  }
}

function searchHash() {
  const row = new URLSearchParams(location.hash.slice(1)).get("row");
  if (row !== null && /^\d+$/.test(row)) searchRow(Number(row));
}

async function begin() {
  try {
    state.about = await ask("/api/about");
  } catch (error) {
    part("lead").textContent = "";
    complain(error);
    return;
  }
  const about = state.about;
  part("title").textContent = document.title = `Search in ${about.name}`;
  const cameras = about.cameras.length ? ` by ${counted(about.cameras.length, "camera", "cameras")}` : "";
  part("lead").textContent = `${counted(about.images, "image", "images")}${cameras}${about.where ? ` with ${about.where}` : ""}: who is this?`;
  part("columns").textContent = `An SQL expression on: ${about.columns.join(", ")}`;
  part("version").textContent = `, version ${about.version}`;
  for (const top of [...new Set([...TOPS, about.top])].sort((a, b) => a - b)) {
    if (top <= about.most_top) part("top").append(element("option", { value: top, text: number(top) }));
  }
  part("top").value = Math.min(about.top, about.most_top);
  addCameras(about.cameras);
  listenForPhotos();
  listenForFilters();
  addEventListener("hashchange", searchHash);
  await showGallery();
  searchHash();
}

begin();
