"use strict";
// The HTML report. Everything from the results is inserted as text only: in the
// document with textContent, and in Plotly, which interprets some markup, with `plain`.
(() => {
  const $ = (id) => document.getElementById(id);
  const PAGE = 50;
  const state = {
    search: "",
    filters: new Map(),
    sort: "concern",
    descending: true,
    page: 0,
    measure: 0,
    group: 0,
    open: null,
  };
  let data,
    shown,
    waiting = new Map();
  const chunks = new Map();

  // ---------------------------------------------------------------- helpers
  const make = (tag, text, attributes = {}) => {
    const node = document.createElement(tag);
    if (text !== null && text !== undefined) node.textContent = text;
    for (const [name, value] of Object.entries(attributes))
      node.setAttribute(name, value);
    return node;
  };
  const plain = (text) =>
    String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  const short = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);
  const clock = (seconds) => {
    const s = Math.floor(seconds),
      two = (n) => String(n).padStart(2, "0");
    return s >= 3600
      ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`
      : `${two(Math.floor(s / 60))}:${two(s % 60)}`;
  };
  const written = (value, kind) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (kind === "share") return (value * 100).toFixed(1) + " %";
    if (kind === "seconds" || kind === "offset") return value.toFixed(1) + " s";
    return value.toFixed(kind === "score" || kind === "rate" ? 2 : 1);
  };
  const style = (name) =>
    getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---------------------------------------------------------------- figures
  // A measure is a ratio of two sums over calls. The units of its interval are the
  // values of the cluster column, or, within a single value, calls.
  const figure = (
    calls,
    m,
    {
      of = (call) => [call.sums[2 * m], call.sums[2 * m + 1]],
      scale = data.measures[m].scale,
      by = null,
    } = {},
  ) => {
    const cluster = data.columns.indexOf(data.intervals.cluster),
      clustered = cluster >= 0 && by !== cluster && !state.filters.has(cluster);
    const units = new Map();
    calls.forEach((call, i) => {
      const [a, b] = of(call);
      if (a === null || b === null) return;
      const key = clustered ? call.unit : i,
        u = units.get(key) || [0, 0, 0];
      units.set(key, [u[0] + a, u[1] + b, u[2] + (b > 0)]);
    });
    return serEstimate([...units.values()], scale, { ...data.intervals, clustered });
  };
  const between = (f, kind) =>
    f.low === undefined
      ? ""
      : `${written(f.low, kind).replace(/ %$| s$/, "")} to ${written(f.high, kind)}`;
  const errors = (figures) => ({
    type: "data",
    symmetric: false,
    array: figures.map((f) => (f.low === undefined ? 0 : f.high - f.value)),
    arrayminus: figures.map((f) => (f.low === undefined ? 0 : f.value - f.low)),
    color: style("--soft"),
    thickness: 1,
    width: 3,
  });
  const one = (call, m) => {
    const a = call.sums[2 * m],
      b = call.sums[2 * m + 1];
    return a === null || b === null || !b ? null : a / b;
  };
  const grouped = (calls, key) => {
    const groups = new Map();
    for (const call of calls) {
      const k = key(call);
      if (!groups.has(k)) groups.set(k, []);
      groups.get(k).push(call);
    }
    return groups;
  };
  const groupOf = (call, g) => {
    const v = call.meta[g];
    return v === null || v === undefined ? "(unknown)" : String(v);
  };
  // Time is divided into days, or into hours if there is only one day.
  const slot = (call) => call.at.slice(0, data.daily ? 10 : 13);

  // ---------------------------------------------------------------- selection of calls
  const apply = (but) => {
    const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
    return data.calls.filter((call) => {
      for (const [column, value] of state.filters) {
        if (
          column !== but &&
          (column === "time" ? slot(call) : groupOf(call, column)) !== value
        )
          return false;
      }
      return words.every((word) => call.text.includes(word));
    });
  };
  const toggle = (column, value) => {
    if (state.filters.get(column) === value) state.filters.delete(column);
    else state.filters.set(column, value);
    state.page = 0;
    draw();
  };

  // ---------------------------------------------------------------- drawing
  const layout = (extra) => ({
    margin: { l: 56, r: 12, t: 8, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: style("--ink"), family: "system-ui, sans-serif", size: 12 },
    showlegend: false,
    hovermode: "closest",
    bargap: 0.25,
    ...extra,
  });
  const axis = (extra = {}) => ({
    gridcolor: style("--line"),
    zerolinecolor: style("--line"),
    automargin: true,
    fixedrange: true,
    ...extra,
  });
  const config = { displayModeBar: false, responsive: true };
  const format = (m) =>
    m.kind === "share"
      ? { tickformat: ".0%", rangemode: "tozero" }
      : { rangemode: m.kind === "score" ? "normal" : "tozero" };
  const plot = (id, traces, shape, onClick) => {
    Plotly.react(id, traces, layout(shape), config);
    const node = $(id);
    node.removeAllListeners("plotly_click");
    if (onClick) node.on("plotly_click", (event) => onClick(event.points[0]));
  };

  const drawCards = () => {
    const hours = shown.reduce((sum, call) => sum + (call.s || 0), 0) / 3600;
    const failed = shown.filter((call) => call.error !== null).length;
    const cards = [
      ["calls", shown.length.toLocaleString("en")],
      ["hours of audio", hours.toFixed(1)],
    ];
    if (failed) cards.push(["failed", String(failed)]);
    const wanted = [
      "distress_share",
      "angry_share",
      "valence",
      "episode_share",
      "escalated_share",
      "silence_share",
      "overtalk_share",
      "response_latency_s",
    ];
    for (const name of wanted) {
      const m = data.measures.findIndex((measure) => measure.name === name);
      if (m < 0) continue;
      const f = figure(shown, m),
        kind = data.measures[m].kind;
      cards.push([data.measures[m].label, written(f.value, kind), between(f, kind)]);
    }
    $("cards").replaceChildren(
      ...cards.map(([name, value, spread]) => {
        const card = make("div", null, { class: "card" });
        card.append(make("b", value), make("span", name));
        if (spread) card.append(make("small", spread));
        return card;
      }),
    );
  };

  const drawTrend = () => {
    const m = data.measures[state.measure];
    const slots = [
      ...grouped(
        apply("time").filter((call) => call.at),
        slot,
      ),
    ].sort((a, b) => (a[0] < b[0] ? -1 : 1));
    const figures = slots.map(([, calls]) => figure(calls, state.measure));
    const x = slots.map(([key]) => (data.daily ? key : key.replace("T", " ") + ":30"));
    $("trend-title").textContent = `${m.label} by ${data.daily ? "day" : "hour"}`;
    plot(
      "trend",
      [
        {
          type: "bar",
          x,
          y: slots.map((d) => d[1].length),
          yaxis: "y2",
          marker: { color: style("--line") },
          hovertemplate: "%{y} calls<extra></extra>",
        },
        {
          type: "scatter",
          mode: "lines+markers",
          x,
          y: figures.map((f) => f.value),
          line: { color: style("--accent"), width: 2 },
          marker: {
            size: slots.map((d) => (state.filters.get("time") === d[0] ? 12 : 7)),
          },
          error_y: errors(figures),
          text: figures.map((f) => written(f.value, m.kind)),
          customdata: slots.map((d) => d[0].replace("T", " ")),
          hovertemplate: "%{customdata}: %{text}<extra></extra>",
        },
      ],
      {
        xaxis: axis({
          type: "date",
          tickformat: data.daily ? "%d %b" : "%H:%M",
          ...(slots.length < 9
            ? { dtick: (data.daily ? 24 : 1) * 3600e3, tick0: x[0] }
            : {}),
        }),
        yaxis: axis({ overlaying: "y2", ...format(m) }),
        yaxis2: axis({
          side: "right",
          showgrid: false,
          title: { text: "calls" },
          rangemode: "tozero",
        }),
        margin: { l: 56, r: 48, t: 8, b: 36 },
      },
      (point) => toggle("time", slots[point.pointIndex][0]),
    );
  };

  const drawGroups = () => {
    const m = data.measures[state.measure],
      column = data.columns[state.group];
    let groups = [
      ...grouped(apply(state.group), (call) => groupOf(call, state.group)),
    ].map(([key, calls]) => ({
      key,
      f: figure(calls, state.measure, { by: state.group }),
      n: calls.length,
    }));
    groups = groups
      .filter((g) => g.f.value !== null)
      .sort((a, b) => b.f.value - a.f.value)
      .slice(0, 20)
      .reverse();
    $("groups-title").textContent = `${m.label} by ${column}`;
    plot(
      "groups",
      [
        {
          type: "scatter",
          mode: "markers",
          y: groups.map((_, i) => i),
          x: groups.map((g) => g.f.value),
          marker: {
            size: groups.map((g) =>
              state.filters.get(state.group) === g.key ? 15 : 10,
            ),
            color: style("--accent"),
          },
          error_x: errors(groups.map((g) => g.f)),
          text: groups.map(
            (g) =>
              `${plain(g.key)}: ${written(g.f.value, m.kind)}` +
              (g.f.low === undefined ? "" : ` (${between(g.f, m.kind)})`) +
              `, ${g.n} calls`,
          ),
          hovertemplate: "%{text}<extra></extra>",
        },
      ],
      {
        xaxis: axis(format(m)),
        yaxis: axis({
          tickvals: groups.map((_, i) => i),
          ticktext: groups.map((g) => plain(short(g.key, 24))),
          range: [-0.7, Math.max(groups.length, 3) - 0.3],
        }),
      },
      (point) => toggle(state.group, groups[point.pointIndex].key),
    );
  };

  const drawHours = () => {
    const m = data.measures[state.measure];
    const hours = [
      ...grouped(
        shown.filter((call) => call.at),
        (call) => call.at.slice(11, 13),
      ),
    ].sort((a, b) => (a[0] < b[0] ? -1 : 1));
    const figures = hours.map(([, calls]) => figure(calls, state.measure));
    $("hours-title").textContent = `${m.label} by hour of the day`;
    plot(
      "hours",
      [
        {
          type: "scatter",
          mode: "lines+markers",
          x: hours.map((h) => Number(h[0])),
          y: figures.map((f) => f.value),
          line: { color: style("--accent"), width: 2 },
          marker: { size: 7 },
          error_y: errors(figures),
          text: figures.map(
            (f, i) =>
              `${hours[i][0]}:00: ${written(f.value, m.kind)}, ` +
              `${hours[i][1].length} calls`,
          ),
          hovertemplate: "%{text}<extra></extra>",
        },
      ],
      {
        xaxis: axis({ range: [-0.5, 23.5], dtick: 3, ticksuffix: ":00" }),
        yaxis: axis(format(m)),
      },
    );
  };

  const drawSpread = () => {
    const m = data.measures[state.measure],
      values = shown.map((call) => one(call, state.measure)).filter((v) => v !== null);
    $("spread-title").textContent = `${m.label}, call by call`;
    plot(
      "spread",
      [
        {
          type: "histogram",
          x: values,
          nbinsx: 30,
          marker: { color: style("--accent") },
          hovertemplate: "%{x}: %{y} calls<extra></extra>",
        },
      ],
      {
        bargap: 0.05,
        xaxis: axis(m.kind === "share" ? { tickformat: ".0%" } : {}),
        yaxis: axis({ title: { text: "calls" }, rangemode: "tozero" }),
      },
    );
  };

  const drawEmotions = () => {
    const rows = data.labels
      .map((label) => ({
        label,
        m: data.measures.findIndex((m) => m.name === data.shares[label]),
      }))
      .filter((r) => r.m >= 0)
      .map((r) => ({ ...r, f: figure(shown, r.m) }))
      .filter((r) => r.f.value !== null)
      .sort((a, b) => a.f.value - b.f.value);
    plot(
      "emotions",
      [
        {
          type: "bar",
          orientation: "h",
          y: rows.map((r) => plain(r.label)),
          x: rows.map((r) => r.f.value),
          marker: {
            color: rows.map((r) => data.colours[r.label]),
            line: { color: style("--soft"), width: 0.5 },
          },
          error_x: errors(rows.map((r) => r.f)),
          text: rows.map((r) => written(r.f.value, "share")),
          textposition: "none",
          hovertemplate: "%{y}: %{text}<extra></extra>",
        },
      ],
      { xaxis: axis({ tickformat: ".0%", rangemode: "tozero" }), yaxis: axis() },
    );
  };

  const drawQuarters = () => {
    const sums = [0, 1, 2, 3].map((q) => {
      return figure(shown, null, {
        of: (call) => [call.quarters[2 * q], call.quarters[2 * q + 1]],
        scale: "logit",
      });
    });
    plot(
      "quarters",
      [
        {
          type: "bar",
          x: ["first", "second", "third", "last"],
          y: sums.map((f) => f.value),
          marker: { color: "#d55e00" },
          width: 0.55,
          error_y: errors(sums),
          text: sums.map((f) => written(f.value, "share")),
          textposition: "none",
          hovertemplate: "%{x} quarter: %{text}<extra></extra>",
        },
      ],
      { xaxis: axis(), yaxis: axis({ tickformat: ".0%", rangemode: "tozero" }) },
    );
  };

  const drawChips = () => {
    $("chips").replaceChildren(
      ...[...state.filters].map(([column, value]) => {
        const name =
          column === "time" ? (data.daily ? "day" : "hour") : data.columns[column];
        const chip = make("button", `${name}: ${value} ×`, {
          type: "button",
          "aria-label": `Remove the filter ${name}: ${value}`,
        });
        chip.onclick = () => toggle(column, value);
        return chip;
      }),
    );
  };

  // ---------------------------------------------------------------- the table
  const columns = () => {
    const m = (name) => data.measures.findIndex((measure) => measure.name === name);
    const list = [
      {
        key: "path",
        label: "recording",
        of: (c) => c.path,
        show: (c) => c.path,
        cls: "path",
      },
      {
        key: "at",
        label: "start",
        of: (c) => c.at,
        show: (c) => c.at.replace("T", " "),
      },
      {
        key: "s",
        label: "length",
        of: (c) => c.s,
        show: (c) => (c.s === null ? "–" : clock(c.s)),
        cls: "num",
      },
      {
        key: "concern",
        label: "concern",
        of: (c) => c.concern,
        bar: true,
        show: (c) => (c.concern === null ? "–" : c.concern.toFixed(2)),
        cls: "num",
      },
      {
        key: "peak",
        label: "peak distress",
        of: (c) => c.peak,
        show: (c) => (c.peak === null ? "–" : c.peak.toFixed(2)),
        cls: "num",
      },
      {
        key: "peakAt",
        label: "from",
        of: (c) => c.peakAt,
        show: (c) => (c.peakAt === null ? "–" : clock(c.peakAt)),
        cls: "num",
      },
      {
        key: "why",
        label: "why",
        of: (c) => (c.error !== null ? "failed: " + c.error : c.why),
        show: (c) => (c.error !== null ? "failed: " + short(c.error, 60) : c.why),
      },
    ];
    for (const name of [
      "distress_share",
      "angry_share",
      "valence",
      "silence_share",
      "overtalk_share",
    ]) {
      const i = m(name);
      if (i >= 0)
        list.push({
          key: name,
          label: data.measures[i].label.replace(" share", ""),
          of: (c) => one(c, i),
          show: (c) => written(one(c, i), data.measures[i].kind),
          cls: "num",
        });
    }
    data.columns.forEach((name, g) =>
      list.push({
        key: "meta" + g,
        label: name,
        of: (c) => c.meta[g],
        show: (c) => (c.meta[g] === null ? "–" : short(String(c.meta[g]), 40)),
      }),
    );
    return list;
  };
  const drawTable = () => {
    const list = columns(),
      by = list.find((column) => column.key === state.sort) || list[3],
      sign = state.descending ? -1 : 1;
    const rows = [...shown].sort((a, b) => {
      const x = by.of(a),
        y = by.of(b);
      if (x === null || y === null) return (x === null) - (y === null);
      return (
        sign *
        (typeof x === "number" && typeof y === "number"
          ? x - y
          : String(x).localeCompare(String(y)))
      );
    });
    const head = list.map((column) => {
      const cell = make("th", null, {
        scope: "col",
        class: column.cls || "",
        "aria-sort":
          column === by ? (state.descending ? "descending" : "ascending") : "none",
      });
      const button = make("button", column.label, {
        type: "button",
        "data-key": column.key,
      });
      button.onclick = () => {
        state.descending =
          state.sort === column.key
            ? !state.descending
            : typeof column.of(data.calls[0]) === "number";
        state.sort = column.key;
        state.page = 0;
        drawTable();
        document
          .querySelector(`#table thead [data-key="${CSS.escape(column.key)}"]`)
          .focus();
      };
      cell.append(button);
      return cell;
    });
    document.querySelector("#table thead tr").replaceChildren(...head);
    const last = Math.max(0, Math.ceil(rows.length / PAGE) - 1);
    state.page = Math.min(state.page, last);
    document.querySelector("#table tbody").replaceChildren(
      ...rows.slice(state.page * PAGE, (state.page + 1) * PAGE).map((call, i) => {
        const row = make("tr", null, {
          tabindex: i ? "-1" : "0",
          class: call.error !== null ? "failed" : "",
          "data-id": call.id,
        });
        for (const column of list) {
          const cell = make("td", null, { class: column.cls || "" });
          if (column.bar && call.concern) {
            const bar = make("span", null, { class: "bar-cell" });
            bar.style.width = 60 * Math.min(1, call.concern) + "px";
            cell.append(bar);
          }
          cell.append(column.show(call));
          row.append(cell);
        }
        row.onclick = () => open(call);
        return row;
      }),
    );
    $("count").textContent =
      `${rows.length.toLocaleString("en")} of ` +
      data.calls.length.toLocaleString("en");
    const step = (text, to) => {
      const button = make("button", text, { type: "button" });
      button.disabled = to < 0 || to > last;
      button.onclick = () => {
        state.page = to;
        drawTable();
      };
      return button;
    };
    $("pages").replaceChildren(
      ...(last
        ? [
            step("‹ Previous", state.page - 1),
            make("span", `page ${state.page + 1} of ${last + 1}`),
            step("Next ›", state.page + 1),
          ]
        : []),
    );
  };
  document.querySelector("#table tbody").addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const to =
      event.key === "ArrowDown"
        ? row.nextElementSibling
        : event.key === "ArrowUp"
          ? row.previousElementSibling
          : null;
    if (to) {
      row.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
      event.preventDefault();
    }
    if (event.key === "Enter" || event.key === " ") {
      open(data.calls.find((call) => call.id === row.dataset.id));
      event.preventDefault();
    }
  });

  // ---------------------------------------------------------------- one call
  const unpack = async (text) => {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes])
      .stream()
      .pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  };
  const details = async (call) => {
    const number = Math.floor(call.place / data.chunk);
    if (!chunks.has(number)) {
      const inline = $("chunk-" + number);
      const text = inline
        ? inline.textContent
        : await new Promise((resolve, reject) => {
            waiting.set(number, resolve);
            const script = make("script", null, { src: `calls/${number}.js` });
            script.onerror = () => reject(new Error(`cannot load calls/${number}.js`));
            document.head.append(script);
          });
      chunks.set(number, await unpack(text));
    }
    return chunks.get(number)[call.place % data.chunk];
  };
  window.serChunk = (number, text) => {
    const resolve = waiting.get(number);
    waiting.delete(number);
    if (resolve) resolve(text);
  };

  const seek = (seconds) => {
    const player = $("player");
    if (player.hidden) return;
    const go = () => {
      player.currentTime = seconds;
      player.play().catch(() => {});
    };
    if (player.readyState >= 1) go();
    else {
      player.addEventListener("loadedmetadata", go, { once: true });
      player.load();
    }
  };
  const open = async (call) => {
    state.open = call;
    history.replaceState(null, "", "#call=" + encodeURIComponent(call.id));
    $("call-title").textContent = call.path;
    const facts = [
      call.at.replace("T", " "),
      call.s === null ? "" : clock(call.s),
      ...data.columns.map((name, g) =>
        call.meta[g] === null ? "" : `${name}: ${call.meta[g]}`,
      ),
      call.notes || "",
    ];
    $("call-facts").textContent =
      call.error !== null ? "failed: " + call.error : facts.filter(Boolean).join(" · ");
    const player = $("player");
    player.hidden = !call.audio;
    if (call.audio) player.src = call.audio;
    else player.removeAttribute("src");
    $("player-note").textContent = call.audio
      ? "Click the timeline or a moment to listen from there."
      : "The recording is not reachable from here; use the times to find the moments.";
    $("moments").replaceChildren();
    $("cuts").replaceChildren();
    $("timeline").hidden = call.error !== null;
    if (!$("call").open) $("call").showModal();
    if (call.error !== null) return;
    let d;
    try {
      d = await details(call);
    } catch (error) {
      $("player-note").textContent =
        "Cannot show the details of this call: " + error.message;
      return;
    }
    if (state.open !== call) return;
    $("moments").replaceChildren(
      ...d.moments.map(([at, who, reason]) => {
        const item = make("li"),
          button = make("button", null, { type: "button" });
        button.append(make("time", clock(at / 100)), `${who}: ${reason}`);
        button.onclick = () => seek(at / 100);
        item.append(button);
        return item;
      }),
    );
    if (d.cuts.length) {
      const list = make("ul");
      list.append(
        ...d.cuts.map(([at, said]) => make("li", `${clock(at / 100)}  ${said}`)),
      );
      $("cuts").replaceChildren(make("h3", "Interruptions and attempts"), list);
    }
    drawTimeline(call, d);
  };
  $("player").addEventListener("error", () => {
    if (state.open && state.open.audio) {
      $("player").hidden = true;
      $("player-note").textContent =
        "This browser cannot play the recording, or it is not reachable from here; " +
        "use the times to find the moments.";
    }
  });

  const drawTimeline = (call, d) => {
    const traces = [],
      ticks = d.speech.map(([channel]) => d.roles[channel]);
    d.speech.forEach(([channel, times], i) => {
      const x = [],
        base = [];
      for (let k = 0; k < times.length; k += 2) {
        base.push(times[k] / 100);
        x.push((times[k + 1] - times[k]) / 100);
      }
      traces.push({
        type: "bar",
        orientation: "h",
        base,
        x,
        y: base.map(() => i),
        width: 0.6,
        yaxis: "y2",
        marker: { color: data.channels[channel % data.channels.length] },
        customdata: base.map(
          (b, k) =>
            `${plain(d.roles[channel])} speaks, ${clock(b)} to ${clock(b + x[k])}`,
        ),
        hovertemplate: "%{customdata}<extra></extra>",
        showlegend: false,
      });
    });
    // A stacked bar for each segment, with the labels of distress at the bottom, so
    // that their total height is visible.
    const order = [...data.labels.keys()].sort(
      (a, b) =>
        data.distress.includes(data.labels[b]) - data.distress.includes(data.labels[a]),
    );
    const middle = d.segments.map((s) => (s[1] + s[2]) / 200),
      width = d.segments.map((s) => (s[2] - s[1]) / 100);
    const said = d.segments.map(
      (s) =>
        `${clock(s[1] / 100)} ${s[3] === null ? "unsure" : plain(s[3])}, ` +
        `distress ${(s[5] / 1000).toFixed(2)}`,
    );
    for (const l of order) {
      const label = data.labels[l];
      traces.push({
        type: "bar",
        name: plain(label),
        x: middle,
        width,
        y: d.segments.map((s) => s[4][l] / 1000),
        marker: { color: data.colours[label] },
        customdata: said,
        hovertemplate: `%{customdata}<br>${plain(label)} %{y:.2f}<extra></extra>`,
      });
    }
    const edge = { x: [], y: [] };
    for (const s of d.segments) {
      edge.x.push(s[1] / 100, s[2] / 100, null);
      edge.y.push(s[5] / 1000, s[5] / 1000, null);
    }
    traces.push({
      type: "scatter",
      mode: "lines",
      name: "distress",
      ...edge,
      line: { color: style("--ink"), width: 2.5 },
      hoverinfo: "skip",
    });
    for (const [name, symbol, cuts] of [
      ["interruption", "triangle-down", d.cuts.filter((c) => c[2])],
      ["attempt", "triangle-down-open", d.cuts.filter((c) => !c[2])],
    ]) {
      if (cuts.length)
        traces.push({
          type: "scatter",
          mode: "markers",
          name,
          x: cuts.map((c) => c[0] / 100),
          y: cuts.map(() => 1.03),
          marker: { symbol, size: 10, color: "#d55e00" },
          customdata: cuts.map((c) => `${clock(c[0] / 100)} ${plain(c[1])}`),
          hovertemplate: "%{customdata}<extra></extra>",
        });
    }
    const band = ([from, to], color, yref) => ({
      type: "rect",
      xref: "x",
      yref,
      x0: from / 100,
      x1: to / 100,
      y0: 0,
      y1: 1,
      fillcolor: color,
      line: { width: 0 },
      layer: "below",
    });
    const shapes = [
      ...d.episodes
        .filter((e) => e[0] === "distress")
        .map((e) => band([e[1], e[2]], "rgba(213,94,0,0.16)", "y domain")),
      ...d.silences.map((s) => band(s, "rgba(128,128,128,0.18)", "paper")),
    ];
    const every =
      [5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((s) => call.s / s <= 9) ||
      7200;
    const at = [];
    for (let t = 0; t <= call.s; t += every) at.push(t);
    Plotly.react(
      "timeline",
      traces,
      layout({
        barmode: "stack",
        bargap: 0,
        shapes,
        showlegend: true,
        legend: { orientation: "h", y: -0.12 },
        margin: { l: 72, r: 12, t: 8, b: 30 },
        xaxis: axis({
          range: [0, call.s],
          tickvals: at,
          ticktext: at.map(clock),
          fixedrange: false,
          anchor: "y",
        }),
        yaxis: axis({
          domain: [0, 0.68],
          range: [0, 1.08],
          title: { text: "probability" },
        }),
        yaxis2: axis({
          domain: [0.76, 1],
          tickvals: ticks.map((_, i) => i),
          ticktext: ticks.map((t) => plain(short(t, 14))),
          autorange: "reversed",
          showgrid: false,
          zeroline: false,
        }),
      }),
      { ...config, scrollZoom: false },
    );
    const node = $("timeline");
    node.removeAllListeners("plotly_click");
    node.on("plotly_click", (event) => {
      const p = event.points[0];
      seek(p.yaxis._id === "y2" ? p.base : p.x);
    });
  };
  const close = () => {
    $("call").close();
  };
  $("close").onclick = close;
  $("call").addEventListener("close", () => {
    $("player").pause();
    history.replaceState(null, "", location.pathname + location.search);
    const row =
      state.open &&
      document.querySelector(`#table tbody tr[data-id="${CSS.escape(state.open.id)}"]`);
    state.open = null;
    if (row) row.focus();
  });

  // ---------------------------------------------------------------- startup
  const draw = () => {
    shown = apply();
    drawChips();
    drawCards();
    drawTrend();
    drawGroups();
    drawHours();
    drawSpread();
    drawEmotions();
    drawQuarters();
    drawTable();
  };
  const theme = (dark) => {
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    $("theme").textContent = dark ? "Light" : "Dark";
    $("theme").setAttribute("aria-pressed", String(dark));
    if (data) {
      draw();
      if (state.open && state.open.error === null)
        details(state.open).then((d) => drawTimeline(state.open, d));
    }
  };
  $("theme").onclick = () => theme(document.documentElement.dataset.theme !== "dark");
  const start = (values) => {
    data = values;
    data.daily =
      new Set(data.calls.map((call) => call.at.slice(0, 10)).filter(Boolean)).size > 1;
    for (const call of data.calls)
      call.text = [call.path, call.at, call.why, call.error, ...call.meta]
        .filter((v) => v !== null && v !== undefined)
        .join(" ")
        .toLowerCase();
    const choose = (select, names, chosen, then) => {
      select.replaceChildren(
        ...names.map((name, i) => make("option", name, { value: i })),
      );
      select.value = String(Math.max(0, chosen));
      select.onchange = () => {
        then(Number(select.value));
        draw();
      };
      then(Number(select.value) || 0);
    };
    choose(
      $("measure"),
      data.measures.map((m) => m.label),
      data.measures.findIndex((m) => m.name === "distress_share"),
      (i) => {
        state.measure = i;
      },
    );
    choose(
      $("group"),
      data.columns,
      data.by ? data.columns.indexOf(data.by) : Math.min(1, data.columns.length - 1),
      (i) => {
        state.group = i;
      },
    );
    $("search").oninput = () => {
      state.search = $("search").value;
      state.page = 0;
      draw();
    };
    if (!data.measures.length) {
      for (const id of ["trend", "groups", "hours", "spread", "emotions", "quarters"])
        $(id).closest("figure").hidden = true;
      shown = apply();
      drawCards();
      drawTable();
    } else theme(matchMedia("(prefers-color-scheme: dark)").matches);
    const linked = /^#call=(.+)$/.exec(location.hash);
    const call =
      linked && data.calls.find((c) => c.id === decodeURIComponent(linked[1]));
    if (call) open(call);
    document.body.dataset.ready = "true";
  };
  window.serData = start;
  const inline = $("data");
  if (inline) start(JSON.parse(inline.textContent));
  // Print at the width of the paper, in the light theme.
  const charts = (change) => {
    for (const chart of document.querySelectorAll("main .chart.js-plotly-plot"))
      Plotly.relayout(chart, change);
  };
  let dark = false;
  window.addEventListener("beforeprint", () => {
    dark = document.documentElement.dataset.theme === "dark";
    theme(false);
    charts({ autosize: false, width: 640 });
  });
  window.addEventListener("afterprint", () => {
    charts({ autosize: true, width: null });
    theme(dark);
  });
})();
