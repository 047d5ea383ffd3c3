// The page of both reconstructions. Everything it shows comes from this server's /v1.

const $ = (q, in_ = document) => in_.querySelector(q);

// --- Pages -----------------------------------------------------------------------------

const tabs = [...document.querySelectorAll('[role=tab]')];

function show(name) {
  for (const t of tabs) {
    const on = t.getAttribute('aria-controls') === name;
    t.setAttribute('aria-selected', on);
    t.tabIndex = on ? 0 : -1;
    $('#' + t.getAttribute('aria-controls')).hidden = !on;
  }
  history.replaceState(null, '', '#' + name);
}
tabs.forEach((t, i) => {
  t.onclick = () => show(t.getAttribute('aria-controls'));
  t.onkeydown = e => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[e.key];
    if (to === undefined) return;
    e.preventDefault();
    const next = tabs[(to + tabs.length) % tabs.length];
    next.click();
    next.focus();
  };
});
const pages = tabs.map(t => t.getAttribute('aria-controls'));
if (pages.includes(location.hash.slice(1))) show(location.hash.slice(1));
addEventListener('keydown', e => {
  if (e.key === 'Escape') running?.abort();
  if (e.target.matches('input[type=text], input[type=number]') || e.ctrlKey || e.metaKey || e.altKey) return;
  if (pages[e.key - 1]) show(pages[e.key - 1]);
});

// --- Pictures --------------------------------------------------------------------------

const read = file => new Promise((ok, bad) => {
  const r = new FileReader();
  r.onload = () => ok(r.result);
  r.onerror = () => bad(r.error);
  r.readAsDataURL(file);
});

function dropped(label, input, take) {
  input.onchange = () => input.files.length && take([...input.files]);
  label.ondragover = e => { e.preventDefault(); label.classList.add('over'); };
  label.ondragleave = () => label.classList.remove('over');
  label.ondrop = e => {
    e.preventDefault();
    label.classList.remove('over');
    const files = [...e.dataTransfer.files].filter(f => f.type.startsWith('image/'));
    if (files.length) take(files);
  };
}

let picture = null; // of the first page, as a data URL
async function choose(files) {
  picture = await read(files[0]);
  const shown = $('#image-shown');
  shown.src = picture;
  shown.alt = 'The source: ' + files[0].name;
  shown.hidden = false;
  $('#image-drop span').textContent = files[0].name;
}
dropped($('#image-drop'), $('#image-file'), choose);
addEventListener('paste', e => {
  const files = [...e.clipboardData.files].filter(f => f.type.startsWith('image/'));
  if (files.length) { show('image'); choose(files); }
});

// --- Requests --------------------------------------------------------------------------

let running = null; // an AbortController

async function ask(path, body, signal) {
  const r = await fetch(path, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal });
  if (!r.ok) {
    const text = await r.text();
    let why = r.status + ' ' + r.statusText;
    try { why = JSON.parse(text).error.message; } catch { /* no JSON */ }
    if (r.status === 429) why += ` (in ${r.headers.get('Retry-After')} s)`;
    throw new Error(why);
  }
  return r;
}

// events reads server-sent events of a POST, which EventSource cannot.
async function* events(path, body, signal) {
  const r = await ask(path, body, signal);
  const reader = r.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    for (let at; (at = rest.indexOf('\n\n')) >= 0; rest = rest.slice(at + 2)) {
      const lines = rest.slice(0, at).split('\n');
      yield {
        name: lines.find(l => l.startsWith('event: '))?.slice(7),
        data: JSON.parse(lines.filter(l => l.startsWith('data: ')).map(l => l.slice(6)).join('\n')),
      };
    }
  }
}

// during runs something that Esc and the Stop button end.
async function during(section, what) {
  running?.abort();
  const mine = running = new AbortController();
  const status = $('.status', section), go = $('.go', section), stop = $('.stop', section);
  go.disabled = true;
  stop.hidden = false;
  stop.onclick = () => mine.abort();
  status.classList.remove('bad');
  try {
    status.textContent = await what(mine.signal, text => { status.textContent = text; });
  } catch (e) {
    status.textContent = e.name === 'AbortError' ? 'Stopped.' : e.message;
    status.classList.toggle('bad', e.name !== 'AbortError');
  } finally {
    go.disabled = false;
    stop.hidden = true;
    section.querySelectorAll('.busy').forEach(c => c.classList.remove('busy'));
    if (running === mine) running = null;
  }
}

// --- Reconstructions -------------------------------------------------------------------

class Card {
  constructor(list) {
    this.li = $('#card').content.cloneNode(true).firstElementChild;
    this.img = $('img', this.li);
    list.append(this.li);
  }
  words(text) { $('.words', this.li).textContent = text; this.img.alt = `A drawing of “${text}”`; }
  busy() { this.li.classList.add('busy'); }
  progress(p) { $('progress', this.li).value = p; this.busy(); }
  picture(url, early) {
    this.img.src = url;
    this.img.hidden = false;
    this.img.classList.toggle('early', !!early);
    $('.wait', this.li).hidden = true;
  }
  score(v) { $('.value', this.li).textContent = v.toFixed(4); this.li.classList.remove('busy'); $('progress', this.li).hidden = true; }
  rank(r, chosen) {
    $('.rank', this.li).textContent = chosen ? '★ chosen' : r ? '#' + r : 'failed';
    this.li.classList.toggle('chosen', chosen);
    this.li.classList.toggle('failed', !r);
    this.li.style.order = r || 1e6;
  }
}

function number(id) {
  const v = $(id).value;
  return v === '' ? undefined : Number(v);
}

async function reconstruct(section, source, title) {
  const list = $('.cards', section);
  const name = section.id;
  const body = { ...source, k: number(`#${name}-k`), steps: number(`#${name}-steps`), seed: number(`#${name}-seed`), stream: true, previews: 4 };
  list.replaceChildren();
  const cards = Array.from({ length: body.k || 4 }, () => new Card(list));
  await during(section, async (signal, tell) => {
    tell('Waiting…');
    cards.forEach(c => c.busy());
    let chosen = null, scored = 0;
    const entries = [];
    for await (const { name: event, data } of events('/v1/reconstruct', body, signal)) {
      const card = cards[data.index];
      switch (event) {
      case 'captions':
        data.texts.forEach((t, i) => cards[i].words(t));
        tell(`${data.texts.length} captions; drawing them.`);
        break;
      case 'step':
        card.progress(data.step / data.steps);
        if (data.image) card.picture(data.image, true);
        break;
      case 'candidate':
        entries[data.index] = data;
        card.words(data.error ? `${data.text} (${data.error})` : data.text);
        if (data.image) card.picture(data.image);
        if (!data.error) card.score(data.score);
        tell(`${++scored} of ${cards.length} scored.`);
        break;
      case 'result':
        data.ranks.forEach((r, i) => cards[i].rank(r, i === data.selected));
        chosen = entries[data.selected];
        break;
      case 'error':
        throw new Error(data.message);
      }
    }
    if (!chosen) return 'Every candidate failed.';
    remember(section, title, source.image ?? chosen.image, chosen, list);
    return source.image ? `Chosen: ${chosen.text}` : `Chosen: the drawing that reads “${chosen.text}”.`;
  });
}

$('#image-form').onsubmit = e => {
  e.preventDefault();
  if (!picture) {
    $('#image .status').textContent = 'Choose a picture first.';
    $('#image-file').focus();
    return;
  }
  reconstruct($('#image'), { image: picture }, $('#image-drop span').textContent);
};
$('#text-form').onsubmit = e => {
  e.preventDefault();
  const text = $('#text-text').value.trim();
  if (text) reconstruct($('#text'), { text }, text);
};

// --- The board -------------------------------------------------------------------------

function board(thumb, words, below, open) {
  const li = document.createElement('li'), b = document.createElement('button');
  const text = document.createElement('span'), small = document.createElement('small');
  if (thumb) {
    const img = document.createElement('img');
    img.src = thumb;
    img.alt = '';
    b.append(img);
  }
  text.textContent = words;
  small.textContent = below;
  text.append(small);
  b.append(text);
  b.onclick = () => { running?.abort(); open(); };
  li.append(b);
  $('#board').prepend(li);
  $('aside').hidden = false;
  while ($('#board').children.length > 24) $('#board').lastElementChild.remove();
}

function remember(section, title, thumb, chosen, list) {
  const kept = [...list.children].map(c => c.cloneNode(true));
  board(thumb, chosen.text, `${title} · ${chosen.score.toFixed(4)}`, () => {
    show(section.id);
    list.replaceChildren(...kept.map(c => c.cloneNode(true)));
    $('.status', section).textContent = `Earlier: ${title}`;
  });
}

// What the server remembers of earlier tabs.
fetch('/v1/jobs').then(r => r.json()).then(({ data }) => {
  for (const j of data.slice(0, 24).reverse()) {
    if (j.state !== 'done' || j.kind !== 'reconstruct') continue;
    board('', j.chosen, `${j.title} · ${new Date(j.created).toLocaleString()}`, async () => {
      const r = (await (await fetch('/v1/jobs/' + j.id)).json()).result;
      const section = $(j.title === 'image' ? '#image' : '#text'), list = $('.cards', section);
      show(section.id);
      list.replaceChildren();
      r.candidates.forEach((c, i) => {
        const card = new Card(list);
        card.words(c.error ? `${c.text} (${c.error})` : c.text);
        if (c.image) card.picture(c.image);
        if (!c.error) card.score(c.score);
        card.rank(c.rank, i === r.selected);
      });
      $('.status', section).textContent = `Earlier: ${j.title}`;
    });
  }
}).catch(() => {});

// --- Many pictures ---------------------------------------------------------------------

let files = [], rows = [];
dropped($('#many-drop'), $('#many-files'), list => {
  files = list;
  $('#many-drop span').textContent = `${files.length} pictures`;
});

$('#many-form').onsubmit = e => {
  e.preventDefault();
  const section = $('#many'), text = $('#many-text').value.trim(), body = $('tbody', section);
  if (!files.length) { $('.status', section).textContent = 'Choose pictures first.'; return; }
  rows = [];
  body.replaceChildren();
  $('table', section).hidden = false;
  $('#many-csv').disabled = true;
  during(section, async (signal, tell) => {
    let next = 0, done = 0, failed = 0;
    const one = async () => { // four at once fill a batch
      for (let i; (i = next++) < files.length;) {
        const file = files[i], image = await read(file);
        const row = rows[i] = { file: file.name, caption: '', score: '' };
        try {
          row.caption = (await (await ask('/v1/caption', { image }, signal)).json()).captions[0].text;
          if (text) row.score = (await (await ask('/v1/score', { images: [image], texts: [text] }, signal)).json()).scores[0][0].toFixed(4);
        } catch (e) {
          if (e.name === 'AbortError') throw e;
          row.error = e.message;
          failed++;
        }
        // In the order of the files, whichever is done first.
        const tr = body.insertRow(rows.slice(0, i).filter(r => r?.shown).length), img = document.createElement('img');
        img.src = URL.createObjectURL(file);
        img.alt = '';
        row.shown = true;
        img.onload = () => URL.revokeObjectURL(img.src);
        tr.insertCell().append(img);
        tr.insertCell().textContent = row.file;
        tr.insertCell().textContent = row.error ?? row.caption;
        const n = tr.insertCell();
        n.className = 'number';
        n.textContent = row.score;
        $('#many-csv').disabled = false;
        tell(`${++done} of ${files.length}.`);
      }
    };
    await Promise.all([one(), one(), one(), one()]);
    return `${done - failed} of ${files.length} described` + (failed ? `, ${failed} failed.` : '.');
  });
};

$('#many-csv').onclick = () => {
  // A cell that a spreadsheet would take for a formula is marked as text.
  const cell = v => '"' + String(v).replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""') + '"';
  const lines = [['file', 'caption', 'cosine', 'error'], ...rows.filter(Boolean).map(r => [r.file, r.caption, r.score, r.error ?? ''])];
  const a = document.createElement('a');
  a.href = URL.createObjectURL(new Blob(['\ufeff' + lines.map(l => l.map(cell).join(',')).join('\r\n') + '\r\n'], { type: 'text/csv' }));
  a.download = 'captions.csv';
  a.click();
  setTimeout(() => URL.revokeObjectURL(a.href), 1000);
};

fetch('/v1/models').then(r => r.json()).then(m => { $('#models').textContent = m.data.map(d => d.id).join(' · '); }).catch(() => {});
