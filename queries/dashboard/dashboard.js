// The dashboard in the browser: asks the server how far things are, shows a new report, and runs SQL.
// Names and values from the store go into the page as text only; `/report` and `progress` are HTML that the server escaped.
"use strict";
(() => {
  const PAUSE = 3000, SHORT_PAUSE = 700; // milliseconds between two questions to the server; while a report is made
  const at = (name) => document.getElementById(`live-${name}`);
  const report = at("report"), text = at("text"), answer = at("answer");
  let version = Number(document.body.dataset.version), newest = version, questions = [];

  function show(element, content) {
    element.textContent = content;
    element.hidden = !content;
  }

  function say(words) {
    at("said").textContent = words;
  }

  // ---- live ----------------------------------------------------------------------------------------------------

  async function look() {
    let pause = PAUSE;
    if (!document.hidden) {
      try {
        const reply = await fetch("/live");
        if (!reply.ok) throw new Error(await reply.text());
        const state = await reply.json();
        showState(state);
        if (state.version > version && (version === 0 || !isBeingRead())) await showReport();
        if (state.checking || version === 0) pause = SHORT_PAUSE;
      } catch (error) {
        showLost(error);
      }
    }
    setTimeout(look, pause);
  }

  function showState(state) {
    const words = at("words");
    words.textContent = state.words;
    words.className = state.running ? "running" : "";
    const share = at("share");
    share.hidden = !state.wanted;
    share.max = state.wanted || 1;
    share.value = state.done;
    newest = state.version;
    at("new").hidden = newest <= version || version === 0;
    const last = version ? " anew; this is the last one." : ".";
    show(at("problem"), state.problem && `The report could not be made${last} ${state.problem}`);
    const panel = at("progress");
    if (panel.dataset.html !== state.progress && !panel.contains(document.activeElement)) {
      panel.innerHTML = panel.dataset.html = state.progress;
    }
  }

  function showLost(error) {
    at("words").className = "lost";
    at("words").textContent = "Not connected";
    show(at("problem"), error instanceof TypeError
      ? "The dashboard does not answer. If it has ended, start it again: probestore dashboard"
      : error.message);
  }

  // Somebody who has the focus or a selection in the report is not interrupted: a button offers the new one.
  function isBeingRead() {
    const selection = document.getSelection();
    return report.contains(document.activeElement) || (!selection.isCollapsed && report.contains(selection.anchorNode));
  }

  async function showReport() {
    const reply = await fetch("/report");
    if (!reply.ok) return;
    const html = await reply.text();
    const open = new Set(opened().filter(([, fold]) => fold.open).map(([name]) => name));
    const place = [...report.querySelectorAll("[id]")].filter((element) => element.getBoundingClientRect().top < 90).pop();
    const top = place?.getBoundingClientRect().top;
    report.innerHTML = html;
    for (const [name, fold] of opened()) fold.open = fold.open || open.has(name);
    const same = place && document.getElementById(place.id);
    if (same) window.scrollBy(0, same.getBoundingClientRect().top - top);
    if (version) say("The report shows new results.");
    version = newest;
    at("new").hidden = true;
  }

  // [name, fold] of every fold of the report; the name is the same in the next report.
  function opened() {
    const seen = new Map();
    return [...report.querySelectorAll("details")].map((fold) => {
      const name = `${fold.closest("section")?.id}: ${fold.querySelector("summary")?.textContent.trim()}`;
      seen.set(name, (seen.get(name) || 0) + 1);
      return [`${name} ${seen.get(name)}`, fold];
    });
  }

  // ---- panels --------------------------------------------------------------------------------------------------

  function openPanel(name, isOpen) {
    for (const other of ["progress", "sql"]) {
      const own = isOpen && other === name;
      at(other).hidden = !own;
      at(`${other}-button`).setAttribute("aria-expanded", String(own));
    }
    if (isOpen) window.scrollTo({ top: 0 });
    if (isOpen && name === "sql") {
      text.focus();
      listQuestions();
    }
  }

  for (const name of ["progress", "sql"]) {
    at(`${name}-button`).addEventListener("click", () => openPanel(name, at(name).hidden));
  }
  at("new").addEventListener("click", showReport);

  // ---- SQL -----------------------------------------------------------------------------------------------------

  async function listQuestions() {
    if (questions.length) return;
    const reply = await fetch("/questions");
    if (!reply.ok) return;
    questions = await reply.json();
    const groups = new Map();
    for (const question of questions) {
      if (!groups.has(question.topic)) {
        const group = document.createElement("optgroup");
        group.label = question.topic;
        groups.set(question.topic, group);
      }
      groups.get(question.topic).append(new Option(`${question.name}: ${question.text}`, question.name));
    }
    at("question").append(...groups.values());
  }

  function chosen() {
    return questions.find((question) => question.name === at("question").value);
  }

  // Inputs for the parameters that the SQL names; what was typed into one stays.
  function showParameters() {
    const bare = text.value.replace(/--.*$/gm, "").replace(/'(?:[^']|'')*'/g, "");
    const names = [...new Set([...bare.matchAll(/\$([A-Za-z_]\w*)/g)].map((match) => match[1]))];
    const box = at("parameters");
    const kept = new Map([...box.querySelectorAll("input")].map((input) => [input.name, input.value]));
    if (names.join() === [...kept.keys()].join()) return;
    const known = chosen()?.parameters || [];
    names.sort((a, b) => known.findIndex((one) => one.name === a) - known.findIndex((one) => one.name === b));
    box.replaceChildren(...names.map((name) => parameter(name, known.find((one) => one.name === name), kept.get(name))));
  }

  function parameter(name, known, value) {
    const field = document.createElement("div"), label = document.createElement("label");
    const input = document.createElement("input"), meaning = document.createElement("span");
    label.textContent = name;
    input.name = name;
    input.id = label.htmlFor = `live-parameter-${name}`;
    input.placeholder = known ? known.default : "a value";
    input.value = value || "";
    input.autocomplete = "off";
    meaning.className = "quiet";
    meaning.id = `${input.id}-meaning`;
    meaning.textContent = known ? known.meaning : "";
    input.setAttribute("aria-describedby", meaning.id);
    field.append(label, input, meaning);
    return field;
  }

  async function run() {
    if (at("run").disabled) return;
    const parameters = {};
    for (const input of at("parameters").querySelectorAll("input")) {
      if (input.value !== "") parameters[input.name] = input.value;
    }
    setRunning(true);
    try {
      const reply = await fetch("/sql", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ sql: text.value, parameters }),
      });
      const isJson = (reply.headers.get("content-type") || "").startsWith("application/json");
      const found = isJson ? await reply.json() : { error: await reply.text() };
      if (reply.ok) showAnswer(found);
      else showMistake(found.error);
    } catch (error) {
      showMistake("The dashboard does not answer. If it has ended, start it again: probestore dashboard");
    }
    setRunning(false);
  }

  function setRunning(isRunning) {
    at("run").disabled = isRunning;
    at("cancel").disabled = !isRunning;
    if (isRunning) {
      at("answer-words").textContent = "Running ...";
      show(at("mistake"), "");
    }
  }

  function showMistake(message) {
    at("answer-words").textContent = "";
    show(at("mistake"), message);
    answer.hidden = at("csv").hidden = true;
  }

  function showAnswer(found) {
    const rows = found.n_rows === 1 ? "1 row" : `${found.n_rows.toLocaleString("en")} rows`;
    const part = found.n_rows > found.rows.length ? `; the first ${found.rows.length.toLocaleString("en")} are shown` : "";
    at("answer-words").textContent = `${rows} in ${found.seconds.toFixed(2)} s${part}.`;
    const table = document.createElement("table");
    const head = table.createTHead().insertRow(), body = table.createTBody();
    for (const column of found.columns) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = column.name;
      if (column.number) cell.className = "number";
      head.append(cell);
    }
    for (const row of found.rows) {
      const line = body.insertRow();
      row.forEach((value, column) => {
        const cell = line.insertCell();
        cell.textContent = value;
        if (found.columns[column].number) cell.className = "number";
        else if (value.length > 40) cell.className = "long";
      });
    }
    answer.replaceChildren(table);
    answer.hidden = false;
    at("csv").href = `/answers/${found.name}.csv`;
    at("csv").hidden = false;
  }

  at("question").addEventListener("change", () => {
    const question = chosen();
    if (question) {
      text.value = question.sql;
      text.setSelectionRange(0, 0);
      text.scrollTop = 0;
    }
    showParameters();
  });
  text.addEventListener("input", showParameters);
  at("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  at("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      run();
    }
  });
  at("cancel").addEventListener("click", () => fetch("/cancel", { method: "POST" }));

  look();
})();
