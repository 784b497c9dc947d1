// The plot of a batch: several signals over one time axis, an axis per unit. The server sends the lowest and highest value of each
// stretch of time, so a spike of one sample shows at every zoom; each zoom asks again, finer. The address carries signals and range.
"use strict";
{
  const MOST = 8;
  const HEIGHT = 380;
  const SETTLE = 150; // ms a zoom must rest before data are asked for
  const NARROWEST = 1e-4; // s
  const root = document.getElementById("plot");
  const config = JSON.parse(root.dataset.plot);
  const canvas = root.querySelector(".plot-canvas");
  const legend = root.querySelector(".plot-legend");
  const boxes = [...document.querySelectorAll('#signal-form input[name="signal"]')];
  const T0 = BigInt(config.t0);
  // Seconds of the x axis: since 1970 where the recording has calendar time, else since its start. A double holds both to a microsecond.
  const ORIGIN = config.absolute ? Number(T0) / 1e9 : 0;
  const toX = (ns) => ORIGIN + Number(BigInt(ns) - T0) / 1e9;
  const toNs = (x) => (T0 + BigInt(Math.round((x - ORIGIN) * 1e9))).toString();
  const FULL = [toX(config.t0), Math.max(toX(config.t1), toX(config.t0) + NARROWEST)];
  const colours = new Array(MOST).fill(null);
  const signals = new Map(); // key -> { key, name, unit, place, data }
  let range = config.from && config.to && BigInt(config.from) < BigInt(config.to) ? [toX(config.from), toX(config.to)] : FULL;
  let plot = null;
  let timer = 0;
  let running = null;

  // -- what the page looks like -----------------------------------------------------------------------------------------

  const probe = document.createElement("span");
  probe.className = "hidden";
  root.append(probe);
  const colour = (name) => {
    probe.style.color = `var(${name})`;
    return getComputedStyle(probe).color;
  };
  const faint = (text, alpha) => text.replace(/^rgb\(([^)]*)\)$/, `rgba($1, ${alpha})`);
  const formatted = (value) => {
    if (value === null || value === undefined) return "–";
    if (Number.isInteger(value) && Math.abs(value) < 1e9) return value.toLocaleString("en");
    const size = Math.abs(value);
    return size >= 1e-4 && size < 1e9 ? Number(value.toPrecision(6)).toLocaleString("en", { maximumSignificantDigits: 6 }) : value.toExponential(3);
  };
  const named = (signal, value) => (signal.data && signal.data.choices && signal.data.choices[value]) || formatted(value);
  const pad = (number, width) => String(number).padStart(width, "0");
  const clock = (x) => {
    if (!config.absolute) return `${x.toFixed(3)} s`;
    const day = new Date(x * 1000);
    return Number.isNaN(day.getTime()) ? "" : `${day.toISOString().slice(0, 10)} ${pad(day.getUTCHours(), 2)}:${pad(day.getUTCMinutes(), 2)}:${pad(day.getUTCSeconds(), 2)}.${pad(day.getUTCMilliseconds(), 3)}`;
  };
  const fail = (text) => {
    const line = root.querySelector(".plot-error");
    line.textContent = text;
    line.classList.toggle("hidden", !text);
  };

  /** Labels of the time axis: 24 hours, as fine as the ticks are apart, with the date where it begins or changes. */
  const times = (chart, ticks, axis, space, step) => {
    let before = "";
    return ticks.map((tick) => {
      const [date, time] = clock(tick).split(" ");
      const short = step >= 86400 ? "" : step >= 60 ? time.slice(0, 5) : step >= 1 ? time.slice(0, 8) : time;
      const label = date === before ? short : `${short}\n${date}`;
      before = date;
      return label;
    });
  };

  // -- data -------------------------------------------------------------------------------------------------------------

  const whole = () => range[0] <= FULL[0] && range[1] >= FULL[1];

  const query = () => {
    const parameters = new URLSearchParams();
    for (const key of signals.keys()) parameters.append("signal", key);
    if (!whole()) {
      parameters.set("from", toNs(range[0]));
      parameters.set("to", toNs(range[1]));
    }
    return parameters;
  };

  /** Points at one and the same time become one, from the lowest to the highest: joining signals keeps one point for each time. */
  const distinct = (body) => {
    const x = [], low = [], high = [];
    body.t.forEach((ms, i) => {
      const at = ORIGIN + ms / 1000, last = x.length - 1;
      if (last < 0 || at !== x[last]) {
        x.push(at);
        low.push(body.low[i]);
        high.push(body.high[i]);
      } else if (body.low[i] !== null) {
        low[last] = low[last] === null ? body.low[i] : Math.min(low[last], body.low[i]);
        high[last] = high[last] === null ? body.high[i] : Math.max(high[last], body.high[i]);
      }
    });
    return { x, low, high };
  };

  const load = async (signal, abort) => {
    const parameters = new URLSearchParams({ signal: signal.key, t0: config.t0, points: String(Math.max(300, Math.round(canvas.clientWidth))) });
    if (!whole()) {
      // A little more than is shown, so that lines reach the edges.
      const margin = (range[1] - range[0]) * 0.1;
      parameters.set("from", toNs(range[0] - margin));
      parameters.set("to", toNs(range[1] + margin));
    }
    const answer = await fetch(`${config.data}?${parameters}`, { signal: abort.signal, headers: { Accept: "application/json" } });
    if (answer.redirected) throw new Error("You are logged out. Reload the page.");
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error || `The server answered ${answer.status}.`);
    signal.data = { ...body, ...distinct(body) };
    if (body.unit) signal.unit = body.unit;
  };

  const refresh = async () => {
    if (running) running.abort();
    const abort = (running = new AbortController());
    const query_text = query().toString();
    history.replaceState(null, "", `${location.pathname}${query_text ? `?${query_text}` : ""}${location.hash}`);
    const picture = root.querySelector(".plot-picture");
    picture.href = `${picture.href.split("?")[0]}?${query_text}`;
    canvas.classList.add("loading");
    try {
      await Promise.all([...signals.values()].map((signal) => load(signal, abort)));
      fail("");
    } catch (error) {
      if (error.name === "AbortError") return;
      fail(error.message);
    }
    if (abort !== running) return;
    canvas.classList.remove("loading");
    draw();
  };

  const soon = () => {
    clearTimeout(timer);
    timer = setTimeout(refresh, SETTLE);
  };

  // -- drawing ----------------------------------------------------------------------------------------------------------

  const scaleOf = (signal) => (signal.data && signal.data.choices ? `choice ${signal.key}` : `unit ${signal.unit}`);

  const shadeFindings = (chart) => {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    const names = new Set([...signals.values()].map((signal) => signal.name));
    for (const mark of config.marks) {
      // A finding of a shown signal shades the plot; one without a signal (a fault code) is a bar along the top.
      const own = names.has(mark.signal);
      if (mark.signal && !own) continue;
      const left = chart.valToPos(toX(mark.from), "x", true);
      const right = chart.valToPos(toX(mark.to), "x", true);
      if (right < bbox.left || left > bbox.left + bbox.width) continue;
      ctx.fillStyle = faint(colour(`--mark-${mark.severity}`), own ? 0.16 : 0.7);
      ctx.fillRect(left, bbox.top, Math.max(2, right - left), own ? bbox.height : 5 * devicePixelRatio);
    }
    ctx.restore();
  };

  const options = (shown) => {
    const ink = colour("--text-quiet");
    const grid = { stroke: colour("--border"), width: 1 };
    const scales = { x: { time: config.absolute, range: () => range } };
    const axes = [{ stroke: ink, grid, ticks: grid, ...(config.absolute ? { values: times, space: 80 } : { values: (chart, ticks) => ticks.map((tick) => `${formatted(tick)} s`) }) }];
    const series = [{}];
    const bands = [];
    for (const signal of shown) {
      const scale = scaleOf(signal);
      if (!scales[scale]) {
        scales[scale] = {};
        const left = axes.length % 2 === 1;
        const choices = signal.data && signal.data.choices;
        axes.push({
          scale, side: left ? 3 : 1, stroke: ink, label: choices ? signal.name : signal.unit, labelSize: 18, ticks: grid,
          size: choices ? 110 : 62, grid: left && axes.length === 1 ? grid : { show: false },
          values: (chart, ticks) => ticks.map((tick) => (choices ? choices[tick] || "" : formatted(tick))),
          ...(choices ? { incrs: [1, 2, 5, 10, 20, 50, 100, 1000, 10000] } : {}),
        });
      }
      const stroke = colour(`--plot-${signal.place + 1}`);
      const style = { scale, stroke, width: 1.5, points: { show: signal.data.raw && signal.data.x.length < 200, size: 5 } };
      if (signal.data.choices) style.paths = uPlot.paths.stepped({ align: 1 });
      series.push({ ...style, label: signal.name }, { ...style, label: `${signal.name} low` });
      bands.push({ series: [series.length - 2, series.length - 1], fill: faint(stroke, 0.3) });
    }
    return {
      width: Math.max(200, canvas.clientWidth), height: HEIGHT, scales, axes, series, bands,
      legend: { show: false }, pxAlign: 0, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
      cursor: { drag: { x: true, y: false, setScale: false }, points: { show: false }, bind: { mousedown: grab, dblclick: () => () => { show(FULL); } } },
      hooks: { drawClear: [shadeFindings], setCursor: [readOut], setSelect: [zoomed] },
    };
  };

  const draw = () => {
    const shown = [...signals.values()].filter((signal) => signal.data);
    if (plot) plot.destroy();
    plot = null;
    root.querySelector(".plot-empty").classList.toggle("hidden", signals.size > 0);
    root.querySelector(".plot-tools").classList.toggle("hidden", signals.size === 0);
    canvas.classList.toggle("hidden", signals.size === 0);
    describe();
    if (!shown.length) return;
    const joined = uPlot.join(shown.map((signal) => [signal.data.x, signal.data.high, signal.data.low]), shown.map(() => [0, 1, 1]));
    plot = new uPlot(options(shown), joined, canvas);
    readOut(plot);
  };

  /** Somebody has dragged over a part of the plot. */
  const zoomed = (chart) => {
    const { left, width } = chart.select;
    if (width > 2) show([chart.posToVal(left, "x"), chart.posToVal(left + width, "x")]);
  };

  /** Show another range: at once with the data there are, finer when the server has answered. */
  const show = (wanted) => {
    const width = Math.max(NARROWEST, Math.min(wanted[1] - wanted[0], FULL[1] - FULL[0]));
    const from = Math.max(FULL[0], Math.min(wanted[0], FULL[1] - width));
    range = [from, from + width];
    if (plot) {
      plot.setScale("x", { min: range[0], max: range[1] });
      plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    }
    describe();
    soon();
  };

  const describe = () => {
    root.querySelector(".plot-range").textContent = `${clock(range[0])} – ${clock(range[1])}${config.absolute ? " UTC" : ""}`;
    legend.replaceChildren(...[...signals.values()].map((signal) => {
      const row = document.createElement("div");
      row.className = `plot-key plot-key-${signal.place + 1}`;
      const name = document.createElement("span");
      name.className = "plot-name";
      name.textContent = signal.name;
      const value = document.createElement("span");
      value.className = "plot-value";
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "×";
      remove.setAttribute("aria-label", `Remove ${signal.name}`);
      remove.addEventListener("click", () => choose(signal.key, false));
      row.append(name, value, remove);
      signal.value = value;
      return row;
    }));
  };

  /** Values under the cursor; without one, the lowest and highest of what is shown. */
  const readOut = (chart) => {
    const at = chart.cursor.left >= 0 ? chart.posToVal(chart.cursor.left, "x") : null;
    for (const signal of signals.values()) {
      if (!signal.data || !signal.value) continue;
      const { x, low, high } = signal.data;
      let text;
      if (at === null) {
        let least = Infinity, most = -Infinity;
        for (let i = 0; i < x.length; i++) {
          if (x[i] < range[0] || x[i] > range[1] || low[i] === null) continue;
          if (low[i] < least) least = low[i];
          if (high[i] > most) most = high[i];
        }
        text = least > most ? "no samples here" : `${named(signal, least)} … ${named(signal, most)}`;
      } else {
        const i = nearest(x, at);
        text = i < 0 ? "–" : low[i] === high[i] ? named(signal, high[i]) : `${named(signal, low[i])} … ${named(signal, high[i])}`;
      }
      signal.value.textContent = `${text} ${signal.unit}`;
    }
    if (at !== null) root.querySelector(".plot-range").textContent = `${clock(at)}${config.absolute ? " UTC" : ""}`;
  };

  const nearest = (x, at) => {
    let first = 0, last = x.length - 1;
    if (last < 0) return -1;
    while (first < last) {
      const middle = (first + last) >> 1;
      if (x[middle] < at) first = middle + 1;
      else last = middle;
    }
    return first > 0 && at - x[first - 1] < x[first] - at ? first - 1 : first;
  };

  // -- what a person does -----------------------------------------------------------------------------------------------

  const zoom = (factor, around = (range[0] + range[1]) / 2) => show([around - (around - range[0]) * factor, around + (range[1] - around) * factor]);
  const pan = (share) => {
    const step = (range[1] - range[0]) * share;
    show([range[0] + step, range[1] + step]);
  };

  /** Shift and drag moves; a plain drag is uPlot's own zoom. */
  const grab = (chart, target, handler) => (event) => {
    if (!event.shiftKey || event.button !== 0) {
      handler(event);
      return;
    }
    const from = event.clientX, [first, last] = range, width = chart.over.clientWidth;
    const move = (at) => show([first, last].map((edge) => edge - ((at.clientX - from) / width) * (last - first)));
    const stop = () => {
      document.removeEventListener("mousemove", move);
      document.removeEventListener("mouseup", stop);
    };
    document.addEventListener("mousemove", move);
    document.addEventListener("mouseup", stop);
  };

  // One finger moves, two zoom; vertical strokes scroll the page (touch-action in plot.css).
  const touches = new Map();
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch") touches.set(event.pointerId, event.clientX);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!touches.has(event.pointerId) || !plot) return;
    const before = [...touches.values()];
    touches.set(event.pointerId, event.clientX);
    const after = [...touches.values()];
    const width = plot.over.clientWidth, span = range[1] - range[0];
    if (after.length === 1) show(range.map((edge) => edge - ((after[0] - before[0]) / width) * span));
    else if (after.length === 2) {
      const distance = ([a, b]) => Math.max(20, Math.abs(a - b));
      const box = plot.over.getBoundingClientRect();
      zoom(distance(before) / distance(after), range[0] + (((after[0] + after[1]) / 2 - box.left) / width) * span);
    }
  });
  for (const end of ["pointerup", "pointercancel", "pointerleave"]) canvas.addEventListener(end, (event) => touches.delete(event.pointerId));

  canvas.addEventListener("wheel", (event) => {
    if (!plot || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const box = plot.over.getBoundingClientRect();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, plot.posToVal(event.clientX - box.left, "x"));
  }, { passive: false });

  const acts = { left: () => pan(-0.4), right: () => pan(0.4), in: () => zoom(0.5), out: () => zoom(2), all: () => show(FULL) };
  const keys = { ArrowLeft: () => pan(-0.1), ArrowRight: () => pan(0.1), "+": acts.in, "=": acts.in, "-": acts.out, 0: acts.all };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  for (const button of root.querySelectorAll("[data-plot-do]")) button.addEventListener("click", acts[button.dataset.plotDo]);

  const choose = (key, wanted) => {
    const box = boxes.find((candidate) => candidate.value === key);
    if (wanted && signals.size >= MOST) {
      if (box) box.checked = false;
      fail(`At most ${MOST} signals at once.`);
      return;
    }
    if (box) box.checked = wanted;
    if (wanted && !signals.has(key)) {
      const place = colours.indexOf(null);
      colours[place] = key;
      const name = box ? box.dataset.name : decodeURIComponent(key.split("/")[1] || key);
      signals.set(key, { key, name, unit: box ? box.dataset.unit : "", place, data: null });
    } else if (!wanted && signals.has(key)) {
      colours[signals.get(key).place] = null;
      signals.delete(key);
    }
    draw();
    refresh();
  };
  for (const box of boxes) box.addEventListener("change", () => choose(box.value, box.checked));

  new ResizeObserver(() => {
    if (plot && canvas.clientWidth && plot.width !== canvas.clientWidth) plot.setSize({ width: canvas.clientWidth, height: HEIGHT });
  }).observe(canvas);
  new MutationObserver(draw).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);

  for (const key of config.chosen) {
    const place = colours.indexOf(null);
    colours[place] = key;
    const box = boxes.find((candidate) => candidate.value === key);
    signals.set(key, { key, name: box ? box.dataset.name : key, unit: box ? box.dataset.unit : "", place, data: null });
  }
  draw();
  if (signals.size) refresh();
}
