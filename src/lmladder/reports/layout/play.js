"use strict";
// The playground: the models of a ladder, run in the browser without any library.
//
// A model reads a text as tokens, numbers from 0 to V - 1, one for each character (or byte). After
// each token it returns the logarithms of V probabilities, one for each token that may follow.
// Sections: arrays, models (counts, MLP, Transformer, mixture, oracle), text, page.
// src/lmladder/reports/play.py writes what the page contains.

// ---------------------------------------------------------------------------------------- arrays

// All values of float16, by their 16 bits: sign, 5 bits of exponent, 10 bits of fraction.
const HALVES = Float32Array.from({ length: 1 << 16 }, (_, bits) => {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023, sign = bits >> 15 ? -1 : 1;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -24 * fraction);
});
const TYPES = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array, f2: Uint16Array,
                f4: Float32Array, f8: Float64Array };

// Return arrays by name; each is described as [type, first byte, number of values].
function unpacked(descriptions, bytes) {
  return Object.fromEntries(Object.entries(descriptions).map(([name, [type, first, length]]) => {
    const Type = TYPES[type];
    const values = new Type(bytes.slice(first, first + length * Type.BYTES_PER_ELEMENT));
    return [name, type === "f2" ? Float32Array.from(values, (bits) => HALVES[bits]) : values];
  }));
}

// Return x @ weight + bias: (n), (n, m), (m) -> (m). The weight is stored row after row.
function linear(x, weight, bias) {
  const size = weight.length / x.length;
  const y = bias ? new Float64Array(bias) : new Float64Array(size);
  let i = 0, at = 0;
  for (; i + 3 < x.length; i += 4, at += 4 * size) { // four rows at once, which is faster
    const a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
    const second = at + size, third = second + size, fourth = third + size;
    for (let j = 0; j < size; j++) {
      y[j] += a * weight[at + j] + b * weight[second + j] + c * weight[third + j] + d * weight[fourth + j];
    }
  }
  for (; i < x.length; i++, at += size) for (let j = 0; j < size; j++) y[j] += x[i] * weight[at + j];
  return y;
}

const added = (x, y) => x.map((value, i) => value + y[i]);
const row = (table, index, size) => table.subarray(index * size, (index + 1) * size);
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const entropy = (logs) => -logs.reduce((sum, each) => sum + Math.exp(each) * each, 0);

// Return log(softmax(logits)): the largest is subtracted first, so that no exponential overflows.
function logSoftmax(logits) {
  let largest = -Infinity, total = 0;
  for (const each of logits) largest = Math.max(largest, each);
  for (const each of logits) total += Math.exp(each - largest);
  const shift = largest + Math.log(total);
  return logits.map((each) => each - shift);
}

// The error function, by a series whose terms all have one sign, so that nothing cancels.
function erf(x) {
  if (Math.abs(x) > 6) return Math.sign(x);
  let term = x, sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) sum += term *= (2 * x * x) / (2 * n + 1);
  return 2 / Math.sqrt(Math.PI) * Math.exp(-x * x) * sum;
}

const ACTIVATIONS = {
  relu: (x) => Math.max(x, 0),
  relu_squared: (x) => Math.max(x, 0) ** 2,
  tanh: Math.tanh,
  sigmoid,
  gelu: (x) => x * (1 + erf(x / Math.SQRT2)) / 2,
  gelu_tanh: (x) => x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))) / 2,
};

const EPSILON = 1e-5; // added to a mean square, so that it is never 0

// Return x divided by its root mean square.
function rmsNormalized(x) {
  const scale = 1 / Math.sqrt(x.reduce((sum, each) => sum + each * each, 0) / x.length + EPSILON);
  return x.map((each) => each * scale);
}

// ---------------------------------------------------------------------------------------- models

// What all models have in common: they keep what they have read, so that typing a character costs
// one step. A subclass defines `next`, the log probabilities after `this.tokens`, and `forget`.
class Model {
  tokens = [];
  logs = []; // after each token: log probabilities of the token that follows

  constructor(size, parts) {
    this.size = size; // of the vocabulary
    Object.assign(this, parts);
  }

  // Read a text, at least one token, from where it differs from the one before; return whether all
  // of it was read before the deadline.
  read(tokens, deadline = Infinity) {
    let same = 0;
    while (same < this.tokens.length && this.tokens[same] === tokens[same]) same++;
    if (same < this.tokens.length) {
      this.tokens.length = this.logs.length = same;
      this.forget(same);
    }
    while (this.tokens.length < tokens.length && performance.now() < deadline) {
      this.tokens.push(tokens[this.tokens.length]);
      this.logs.push(this.next());
    }
    return this.tokens.length === tokens.length;
  }

  forget(length) {}
}

// The counts of n-grams of orders 1 to N, as a tree: the children of an n-gram extend it by a token.
class CountTables {
  constructor(arrays, size) {
    this.size = size;
    this.orders = [null];
    for (let n = 1; arrays[`last_${n}`]; n++) {
      const children = arrays[`children_${n}`]; // of each n-gram that is shorter by one
      const first = new Uint32Array(children.length + 1);
      children.forEach((count, i) => (first[i + 1] = first[i] + count));
      this.orders.push({ last: arrays[`last_${n}`], first, counts: arrays[`counts_${n}`] });
    }
    // How many different tokens precede each n-gram. It is the suffix of each of these, and the
    // suffix of "xhw" is the child by w of the suffix of "xh".
    let suffixes = new Uint32Array(this.orders[1].last.length);
    for (let n = 2; n < this.orders.length; n++) {
      const { last, first } = this.orders[n];
      const shorter = this.orders[n - 1], found = new Uint32Array(last.length);
      shorter.preceding = new Uint32Array(shorter.last.length);
      for (let prefix = 0; prefix + 1 < first.length; prefix++) {
        for (let id = first[prefix]; id < first[prefix + 1]; id++) {
          shorter.preceding[found[id] = this.child(n - 1, suffixes[prefix], last[id])]++;
        }
      }
      suffixes = found;
    }
  }

  // Return the id of an n-gram by its prefix and its last token; -1 if it was not counted.
  child(n, prefix, token) {
    const { last, first } = this.orders[n];
    for (let id = first[prefix]; id < first[prefix + 1]; id++) if (last[id] === token) return id;
    return -1;
  }

  // Return the id of the n-gram that the last n tokens of a text are, or -1.
  ending(tokens, n) {
    let id = 0;
    for (let i = 1; i <= n && id >= 0; i++) id = this.child(i, id, tokens[tokens.length - n + i - 1]);
    return id;
  }

  // Return what a model of order n needs: the share of each n-gram, and the weight of the shorter
  // context. `left(count)` is what remains of a count, `rest(total, taken)` what a context gives.
  level(n, counts, left, pseudocounts = 0) {
    const { first } = this.orders[n];
    const share = new Float64Array(counts.length), weight = new Float64Array(first.length - 1);
    for (let context = 0; context < weight.length; context++) {
      let total = pseudocounts, kept = 0;
      for (let id = first[context]; id < first[context + 1]; id++) {
        total += counts[id];
        kept += left(counts[id]);
      }
      weight[context] = total ? (total - kept) / total : 1;
      for (let id = first[context]; total && id < first[context + 1]; id++) {
        share[id] = left(counts[id]) / total;
      }
    }
    return { first, last: this.orders[n].last, share, weight };
  }
}

// p(w | h) = share(hw) + weight(h) * base(w), order by order from the empty context h up.
class CountModel extends Model {
  next() {
    const uniform = 1 / this.size, p = new Float64Array(this.size).fill(uniform);
    this.levels.forEach(({ first, last, share, weight }, length) => {
      if (length > this.tokens.length) return;
      const context = this.tables.ending(this.tokens, length); // the last `length` tokens
      if (this.baseIsUniform) p.fill(uniform);
      if (context < 0) return;
      for (let w = 0; w < p.length; w++) p[w] *= weight[context];
      for (let id = first[context]; id < first[context + 1]; id++) p[last[id]] += share[id];
    });
    return p.map(Math.log);
  }
}

// Add-k: each n-gram counts as if it had occurred k times more.
function addK(tables, order, k) {
  const levels = Array.from({ length: order }, (_, i) =>
    tables.level(i + 1, tables.orders[i + 1].counts, (count) => count, k * tables.size));
  return new CountModel(tables.size, { tables, levels, baseIsUniform: true });
}

// Modified Kneser-Ney (Chen and Goodman 1998): a discount of each count goes to the shorter context,
// in which an n-gram counts once for each different token that precedes it.
function kneserNey(tables, order) {
  const levels = Array.from({ length: order }, (_, i) => {
    const { counts, preceding } = tables.orders[i + 1];
    const used = i + 1 < order ? preceding : counts, discount = [0, ...discounts(used)];
    return tables.level(i + 1, used, (count) => count - discount[Math.min(count, 3)]);
  });
  return new CountModel(tables.size, { tables, levels });
}

// Return the discounts of counts 1, 2, and 3 or more.
function discounts(counts) {
  const n = new Float64Array(6); // how many n-grams occur 0, 1, 2, ... times
  counts.forEach((count) => n[Math.min(count, 5)]++);
  const y = n[1] / (n[1] + 2 * n[2]);
  const found = [1, 2, 3].map((r) => r - ((r + 1) * y * n[r + 1]) / n[r]);
  return n.subarray(1, 5).every((each) => each > 0) && Math.min(...found) > 0 ? found : [0.5, 1, 1.5];
}

function countLadder(size, { settings, arrays }) {
  const tables = new CountTables(arrays, size);
  const models = { uniform: new CountModel(size, { tables, levels: [] }) };
  ["unigram", "bigram", "trigram"].forEach((name, i) => {
    models[name] = addK(tables, i + 1, settings.add_k);
  });
  settings.kneser_ney_orders.forEach((n) => (models[`kneser_ney_${n}`] = kneserNey(tables, n)));
  return models;
}

// The embeddings of the last tokens, one after the other, through hidden layers (Bengio et al. 2003).
class Mlp extends Model {
  next() {
    const { context_length: length, embedding_size: size, hidden_sizes } = this.settings;
    const { arrays, tokens } = this;
    let x = new Float64Array(length * size);
    for (let i = 0; i < length; i++) {
      const token = tokens[tokens.length - length + i] ?? this.size; // a vector for "no token"
      x.set(row(arrays["embedding.weight"], token, size), i * size);
    }
    hidden_sizes.forEach((_, i) => {
      x = linear(x, arrays[`layers.${i}.weight`], arrays[`layers.${i}.bias`]);
      x = x.map(ACTIVATIONS[this.settings.activation]);
    });
    return logSoftmax(linear(x, arrays["unembedding.weight"], arrays["unembedding.bias"]));
  }
}

// Return the softmax of the products of a query and the keys of positions 0 to `last`, which are
// `stride` apart from `first` on; 0 for those before the last `window` positions.
function attentionWeights(query, keys, last, first, stride, window = Infinity) {
  const logits = new Float64Array(last + 1).fill(-Infinity);
  for (let t = Math.max(0, last + 1 - window); t <= last; t++) {
    const at = first + t * stride;
    let product = 0;
    for (let i = 0; i < query.length; i++) product += query[i] * keys[at + i];
    logits[t] = product / Math.sqrt(query.length);
  }
  return logSoftmax(logits).map(Math.exp);
}

// A decoder-only Transformer with pre-norm blocks. It computes one position at a time: what later
// positions need of earlier ones, keys, values and inputs of convolutions, is kept in caches.
class Transformer extends Model {
  start = 0; // the first token of the window that the model sees
  filled = 0; // how many positions of the window are in the caches
  attended = []; // for each token: the start of its window, and the weights by layer and head, then the pointer's

  constructor(size, { settings, arrays }) {
    super(size, { settings, arrays });
    const values = settings.context_length * settings.d_model;
    const cache = () => new Float32Array(values);
    this.caches = Array.from({ length: settings.n_layer }, (_, layer) => ({
      keys: cache(), values: cache(), attention: cache(), feed_forward: cache(),
      window: (layer < settings.n_layer - 1 ? settings.window : settings.last_window) || Infinity,
    }));
    const pointer = () => new Float32Array(settings.context_length * settings.pointer);
    this.pointed = { keys: pointer(), inputs: pointer() };
  }

  forget(length) {
    this.attended.length = Math.min(this.attended.length, length);
    this.filled = Math.min(this.filled, Math.max(0, length - this.start));
  }

  // A window that is full moves forward by half its length, and is computed again.
  next() {
    const longest = this.settings.context_length, step = Math.max(1, longest >> 1);
    const length = this.tokens.length;
    const start = step * Math.max(0, Math.ceil((length - longest) / step));
    if (start !== this.start) [this.start, this.filled] = [start, 0];
    let x, attention;
    while (start + this.filled < length) {
      attention = [];
      x = this.position(this.filled++, attention);
    }
    this.attended[length - 1] = { start, attention };
    const logs = logSoftmax(this.head(x));
    return this.settings.pointer ? this.mixed(logs, x, this.filled - 1, attention) : logs;
  }

  // Return the vector from which the token after a position of the window is predicted.
  position(position, attention) {
    const activation = ACTIVATIONS[this.settings.activation];
    let x = this.embedded(position);
    for (let layer = 0; layer < this.settings.n_layer; layer++) {
      const block = `blocks.${layer}`, cache = this.caches[layer];
      let read = this.norm(x, `${block}.attention_norm`);
      read = this.convolution(read, `${block}.attention_convolution`, cache.attention, position);
      x = added(x, this.attention(read, `${block}.attention`, cache, position, attention));
      read = this.norm(x, `${block}.feed_forward_norm`);
      read = this.convolution(read, `${block}.feed_forward_convolution`, cache.feed_forward, position);
      const hidden = this.linear(read, `${block}.feed_forward.up_proj`).map(activation);
      x = added(x, this.linear(hidden, `${block}.feed_forward.down_proj`));
    }
    if (this.settings.final_norm) x = this.norm(x, "norm");
    if (this.settings.pointer) {
      const { keys, inputs } = this.pointed, key = this.linear(x, "pointer.key");
      keys.set(this.convolution(key, "pointer.before", inputs, position), position * key.length);
    }
    return x;
  }

  // Return the log probabilities after a position: those of the head, mixed with a pointer to the
  // tokens of the window (Merity et al. 2017).
  mixed(logs, x, position, attention) {
    const { arrays, settings: { pointer }, tokens, start } = this;
    const gate = linear(x, arrays["pointer.gate"], arrays["pointer.gate_bias"])[0];
    const p = logs.map((each) => Math.exp(each) * sigmoid(-gate)), share = sigmoid(gate);
    const weights = attentionWeights(this.linear(x, "pointer.query"), this.pointed.keys, position, 0, pointer);
    weights.forEach((weight, t) => (p[tokens[start + t]] += share * weight));
    attention.push(new Float32Array(weights));
    return logSoftmax(p.map((each) => Math.log(Math.max(each, Number.MIN_VALUE))));
  }

  embedded(position) {
    const { settings, arrays, size, tokens, start } = this, { d_model } = settings;
    const token = tokens[start + position];
    let x = new Float64Array(row(arrays["tokens.weight"], token, d_model));
    for (const [n, table] of [[2, arrays["pairs.weight"]], [3, arrays["triples.weight"]]]) {
      if (!table) continue;
      const rows = table.length / d_model;
      let ngram = token, count = size;
      for (let lag = 1; lag < n; lag++, count *= size + 1) {
        ngram += (position >= lag ? tokens[start + position - lag] : size) * count;
      }
      if (count > rows) { // several n-grams share a vector, by Fibonacci hashing
        ngram = Math.floor((Math.imul(ngram, 2654435761) >>> 0) * rows / 2 ** 32);
      }
      x = added(x, row(table, ngram, d_model));
    }
    if (settings.positions === "learned") x = added(x, row(arrays["positions.weight"], position, d_model));
    return settings.embedding_norm ? this.norm(x, "embedding_norm") : x;
  }

  // Return x normalized, then scaled and shifted by what was learned, if anything.
  norm(x, name) {
    const weight = this.arrays[`${name}.weight`], bias = this.arrays[`${name}.bias`];
    const centered = this.settings.norm === "layernorm";
    const mean = centered ? x.reduce((sum, each) => sum + each, 0) / x.length : 0;
    const y = rmsNormalized(x.map((each) => each - mean));
    return y.map((each, i) => each * (weight ? weight[i] : 1) + (bias ? bias[i] : 0));
  }

  linear(x, name) {
    return linear(x, this.arrays[`${name}.weight`], this.arrays[`${name}.bias`]);
  }

  // Return x plus a weighted sum, element by element, of the last inputs, of which x is the latest.
  convolution(x, name, inputs, position) {
    const size = x.length, weight = this.arrays[`${name}.weight`];
    if (!weight) return x;
    const lags = weight.length / size;
    inputs.set(x, position * size);
    return x.map((value, i) => {
      for (let lag = 0; lag < lags && lag <= position; lag++) {
        value += weight[lag * size + i] * inputs[(position - lag) * size + i];
      }
      return value;
    });
  }

  // Each head compares its query with the keys of the last positions, as many as the window has; the
  // softmax of the products weights their values.
  attention(x, name, { keys, values, window }, position, weights) {
    const { settings, arrays } = this, { d_model, n_head } = settings, size = d_model / n_head;
    const query = this.turned(this.linear(x, `${name}.query`), position);
    keys.set(this.turned(this.linear(x, `${name}.key`), position), position * d_model);
    values.set(this.linear(x, `${name}.value`), position * d_model);
    const gates = settings.gated_attention && linear(x, arrays[`${name}.gate`]);
    const heads = new Float64Array(d_model);
    for (let first = 0; first < d_model; first += size) {
      const part = query.subarray(first, first + size);
      const weight = attentionWeights(part, keys, position, first, d_model, window);
      for (let t = Math.max(0, position + 1 - window); t <= position; t++) {
        const factor = weight[t], at = first + t * d_model;
        for (let i = 0; i < size; i++) heads[first + i] += factor * values[at + i];
      }
      if (gates) {
        const gate = 2 * sigmoid(gates[first / size]);
        for (let i = first; i < first + size; i++) heads[i] *= gate;
      }
      weights.push(new Float32Array(weight));
    }
    return this.linear(heads, `${name}.output`);
  }

  // Return queries or keys, head by head, normalized and rotated by their position (Su et al. 2021).
  turned(x, position) {
    const { d_model, n_head, qk_norm, positions } = this.settings, size = d_model / n_head;
    for (let first = 0; first < d_model; first += size) {
      const head = x.subarray(first, first + size), half = size / 2;
      if (qk_norm) head.set(rmsNormalized(head));
      for (let i = 0; positions === "rotary" && i < half; i++) {
        const angle = position * 10000 ** (-i / half), cos = Math.cos(angle), sin = Math.sin(angle);
        const [a, b] = [head[i], head[i + half]];
        [head[i], head[i + half]] = [a * cos - b * sin, a * sin + b * cos];
      }
    }
    return x;
  }

  head(x) {
    if (!this.settings.tied) return this.linear(x, "unembedding");
    const table = this.arrays["tokens.weight"];
    return Float64Array.from({ length: this.size }, (_, token) =>
      row(table, token, x.length).reduce((sum, each, i) => sum + each * x[i], 0));
  }
}

// A weighted sum of the distributions of other models. The weights depend on the entropies of some
// of these: each row of a table has the weights at one combination of knots, and between the knots
// they are interpolated.
class Mixture extends Model {
  constructor(size, { settings, arrays }, members) {
    super(size, { settings, arrays });
    this.members = settings.members.map((name) => members[name]);
    this.features = settings.weights_by.map((name) => settings.members.indexOf(name));
  }

  read(tokens, deadline) {
    for (const member of this.members) member.read(tokens, deadline);
    const ready = Math.min(...this.members.map((member) => member.tokens.length));
    return super.read(tokens.slice(0, ready), deadline) && ready === tokens.length;
  }

  next() {
    const logs = this.members.map((member) => member.logs[this.tokens.length - 1]);
    const weights = this.weights(this.features.map((index) => entropy(logs[index])));
    return new Float64Array(this.size).map((_, token) => {
      const terms = logs.map((each, i) => each[token] + Math.log(weights[i]));
      const largest = Math.max(...terms);
      return largest + Math.log(terms.reduce((sum, each) => sum + Math.exp(each - largest), 0));
    });
  }

  weights(entropies) {
    const { knots, table } = this.arrays, n = this.settings.knots, count = this.members.length;
    let corners = [[0, 1]]; // rows of the table with their shares
    entropies.forEach((value, feature) => {
      const own = row(knots, feature, n);
      const below = own.findLastIndex((knot) => knot <= value);
      let at = Math.max(below, 0); // where the entropy is among the knots
      if (below >= 0 && below < n - 1) at += (value - own[below]) / (own[below + 1] - own[below]);
      const lower = Math.min(Math.floor(at), n - 2), upper = at - lower;
      corners = corners.flatMap(([index, share]) =>
        [[index * n + lower, share * (1 - upper)], [index * n + lower + 1, share * upper]]);
    });
    return Array.from({ length: count }, (_, member) =>
      corners.reduce((sum, [index, share]) => sum + share * table[index * count + member], 0));
  }
}

// The true distribution of stories that a grammar generates. A derivation is a sequence of choices
// that agrees with the text since the last newline; the oracle has all of them, each with its
// probability, and adds these up by the next token. A variable is drawn where it is first mentioned.
const IMPOSSIBLE = Math.log(2.2250738585072014e-308); // instead of log(0); of the smallest float64
class Oracle extends Model {
  states = []; // after each token: the derivations; none where no story agrees with the text

  // A part is [variable, its rivals, options], where null is no variable; an option is [text, the
  // parts that it consists of, if any].
  constructor(size, { parts, start }, encode) {
    super(size);
    [this.end] = encode("\n");
    this.parts = parts.map(([variable, rivals, options]) => ({
      variable, rivals,
      options: options.map(([text, below], index) => ({ text: encode(text), below, index })),
    }));
    this.parts.push({ variable: null, rivals: [], options: [{ text: [this.end], below: [], index: 0 }] });
    this.beginning = [];
    this.enter(1, {}, [start, [this.parts.length - 1, null]], this.beginning);
  }

  // Append the derivations of this probability that continue with `rest`: [a part, its own rest].
  enter(weight, drawn, rest, into) {
    if (!rest) return;
    const [part, after] = rest, { variable, rivals, options } = this.parts[part];
    const taken = rivals.map((rival) => drawn[rival]); // those with one list have different items
    const free = drawn[variable] !== undefined
      ? [options[drawn[variable]]] : options.filter(({ index }) => !taken.includes(index));
    const each = weight / free.length, texts = free.filter(({ below }) => !below.length);
    if (texts.length) into.push({ weight: each, options: texts, at: 0, drawn, variable, rest: after });
    for (const { below } of free) {
      if (below.length) this.enter(each, drawn, below.reduceRight((next, one) => [one, next], after), into);
    }
  }

  // Return the derivations that continue with a token, with probabilities that sum to 1.
  continued(derivations, token) {
    const found = [];
    let total = 0;
    for (const derivation of derivations) {
      const { weight, options, drawn, variable, rest } = derivation, at = derivation.at + 1;
      const agree = options.filter(({ text }) => text[at - 1] === token);
      const longer = agree.filter(({ text }) => text.length > at);
      total += weight * agree.length;
      if (longer.length) found.push({ ...derivation, options: longer, at });
      for (const { text, index } of agree) {
        const now = variable === null ? drawn : { ...drawn, [variable]: index };
        if (text.length === at) this.enter(weight, now, rest, found);
      }
    }
    for (const each of found) each.weight /= total;
    return found;
  }

  next() {
    const last = this.tokens.length - 1, token = this.tokens[last];
    this.states[last] = token === this.end
      ? this.beginning : this.continued(this.states[last - 1] ?? this.beginning, token);
    const p = new Float64Array(this.size);
    for (const { weight, options, at } of this.states[last]) {
      for (const { text } of options) p[text[at]] += weight;
    }
    if (!this.states[last].length) return p.fill(-Math.log(this.size));
    return p.map((each) => Math.max(Math.log(each), IMPOSSIBLE));
  }

  forget(length) {
    this.states.length = length;
  }
}

// Return the models of a rung by name. A rung that is also in a mixture is built once.
function built(rung, size, bytes, encode, cache = new Map()) {
  const key = JSON.stringify(rung), { kind, name, members = [] } = rung;
  if (!cache.has(key)) {
    const parts = { ...rung, arrays: unpacked(rung.arrays, bytes) };
    const below = members.map((each) => built(each, size, bytes, encode, cache));
    cache.set(key, {
      counts: () => countLadder(size, parts),
      mlp: () => ({ [name]: new Mlp(size, parts) }),
      transformer: () => ({ [name]: new Transformer(size, parts) }),
      mixture: () => ({ [name]: new Mixture(size, parts, Object.assign({}, ...below)) }),
      oracle: () => ({ [name]: new Oracle(size, parts, encode) }),
    }[kind]());
  }
  return cache.get(key);
}

// ------------------------------------------------------------------------------------------ text

// What the models read: characters, or the bytes of UTF-8.
class Tokenizer {
  constructor(characters) {
    this.characters = characters && [...characters]; // token n is the n-th; null: bytes
    this.ids = new Map(this.characters?.map((each, id) => [each, id]));
  }

  // Return [character, its tokens] for each character of a text; no tokens if it is unknown.
  pieces(text) {
    const bytes = new TextEncoder();
    return [...text].map((each) => {
      if (!this.characters) return [each, [...bytes.encode(each)]];
      return [each, this.ids.has(each) ? [this.ids.get(each)] : []];
    });
  }

  encode(text) {
    return this.pieces(text).flatMap(([, tokens]) => tokens);
  }

  decode(tokens) {
    if (this.characters) return tokens.map((id) => this.characters[id]).join("");
    return new TextDecoder().decode(Uint8Array.from(tokens));
  }

  label(token) {
    return this.characters || (token >= 32 && token < 127) || token === 10
      ? visible(this.decode([token])) : `#${token}`;
  }
}

const visible = (character) => ({ " ": "␣", "\n": "↵", "\t": "⇥" })[character] ?? character;
const inCell = (text) => text.replace("\n", "↵\n"); // a line ends after its mark

// Return a token drawn with probabilities p ** (1 / temperature), the most probable one if it is 0.
function drawn(logs, temperature) {
  if (!temperature) return logs.indexOf(Math.max(...logs));
  const p = logSoftmax(logs.map((each) => each / temperature)).map(Math.exp);
  let rest = Math.random();
  return Math.max(p.findIndex((each) => (rest -= each) < 0), 0);
}

// ------------------------------------------------------------------------------------------ page

const STRONGEST = 8; // bits of the strongest color
const SHOWN = 5; // candidates of each model
const LONGEST = 300; // characters of a continuation
const SLICE = 30; // milliseconds that the page computes before it looks at the keyboard again
const REDRAWN = 300; // milliseconds from one drawing of what is computed to the next

const find = (id) => document.getElementById(id);
const bits = (log) => Math.max(-log, 0) / Math.LN2;
const pause = () => new Promise((resolve) => setTimeout(resolve));

function percent(log) {
  const share = 100 * Math.exp(log);
  if (log <= IMPOSSIBLE) return "0%";
  return share < 0.01 ? "<0.01%" : `${share.toFixed(share < 9.95 ? (share < 0.995 ? 2 : 1) : 0)}%`;
}

function element(name, className, ...children) {
  const made = document.createElement(name);
  made.className = className;
  made.append(...children);
  return made;
}

// The page: its models, the text, and which of its characters is looked at.
class Playground {
  pieces = []; // [character, its tokens] for each character of the text
  at = 0; // the character whose probabilities are shown; the number of characters: the next one
  version = 0; // of the text, so that an older computation stops

  constructor({ vocabulary: size, characters, first, rungs, models }, bytes) {
    this.tokenizer = new Tokenizer(characters);
    this.first = first; // the token before the text
    const encode = (text) => Uint32Array.from(this.tokenizer.encode(text)), cache = new Map();
    const found = rungs.map((rung) => built(rung, size, bytes, encode, cache));
    this.models = models.map(({ rung, name, label, color }) => ({ model: found[rung][name], label, color }));
    // Count models and the oracle are computed first, as they take no time; then the small networks.
    const cost = (model) => [Mlp, Transformer, Mixture].findIndex((kind) => model instanceof kind);
    this.order = this.models.map(({ model }) => model).sort((a, b) => cost(a) - cost(b));
  }

  start() {
    this.cards = this.models.map((each) => this.card(each));
    find("rungs").append(...this.cards.map(({ node }) => node));
    find("surprisal").append(...this.models.map(({ label }) => new Option(label)));
    const best = this.models.findIndex(({ model }) => !(model instanceof Oracle));
    find("surprisal").selectedIndex = Math.max(best, 0);
    this.models.forEach(({ model, label }, index) => {
      if (!(model instanceof Transformer)) return;
      const { n_layer, n_head, pointer } = model.settings;
      if (pointer) find("head").append(new Option(`${label}, pointer`, `${index} ${n_layer * n_head}`));
      find("head").append(new Option(`${label}, mean of all heads`, `${index}`));
      for (let each = 0; each < n_layer * n_head; each++) {
        const place = `layer ${Math.floor(each / n_head) + 1}, head ${(each % n_head) + 1}`;
        find("head").append(new Option(`${label}, ${place}`, `${index} ${each}`));
      }
    });
    find("attention").hidden = !find("head").length;
    find("text").addEventListener("input", () => this.typed());
    document.addEventListener("selectionchange", () => {
      if (document.activeElement === find("text")) this.select(this.caret());
    });
    find("cells").addEventListener("click", ({ target }) => {
      const index = [...find("cells").children].indexOf(target);
      if (index >= 0) this.select(index);
    });
    find("cells").addEventListener("keydown", (event) => {
      const { at, pieces } = this;
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: pieces.length }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.select(to);
    });
    find("surprisal").addEventListener("change", () => this.draw());
    find("head").addEventListener("change", () => this.drawAttention());
    find("temperature").addEventListener("input", ({ target }) => {
      find("degrees").value = target.value;
    });
    find("text").setSelectionRange(1e9, 1e9); // the end
    return this.typed();
  }

  // Return the parts of the page that show one model.
  card({ model, label, color }) {
    const row = () => element("li", "", element("b", ""), element("i", "bar"), element("span", ""));
    const rows = Array.from({ length: SHOWN }, row), own = row(), mean = element("small", "");
    const go = element("button", "", "Continue");
    go.type = "button";
    go.setAttribute("aria-label", `Continue the text with ${label}`);
    go.addEventListener("click", () => this.continued(model, go));
    const mark = element("i", "mark"), list = element("ol", "", ...rows);
    const node = element("section", "rung", element("h3", "", mark, label), mean, list,
                         element("ul", "", own), go);
    node.style.setProperty("--color", color);
    return { node, rows, own, mean };
  }

  // Return what the models read: the token before the text, and those of the text.
  tokens() {
    return [this.first, ...this.pieces.flatMap(([, tokens]) => tokens)];
  }

  caret() {
    return [...find("text").value.slice(0, find("text").selectionStart)].length;
  }

  // Read the text as it is now: in slices of time, so that one can type meanwhile.
  async typed() {
    const version = ++this.version;
    this.pieces = this.tokenizer.pieces(find("text").value);
    this.before = [0]; // the number of tokens before each character
    for (const [, tokens] of this.pieces) this.before.push(this.before.at(-1) + tokens.length);
    const tokens = this.tokens();
    this.at = this.caret();
    for (let shown = -Infinity; ;) {
      const deadline = performance.now() + SLICE;
      const done = this.order.map((model) => model.read(tokens, deadline)).every(Boolean);
      if (done || deadline > shown + REDRAWN) {
        this.draw();
        shown = performance.now();
      }
      if (done) return;
      await pause();
      if (version !== this.version) return;
    }
  }

  // Append what a model draws, until it ends a document, or the button is pressed again.
  async continued(model, button) {
    this.running = this.running === button ? null : button;
    if (!this.running) return;
    button.textContent = "Stop";
    const text = find("text"), before = text.value, start = this.tokens().length, tokens = this.tokens();
    const whole = () => before + this.tokenizer.decode(tokens.slice(start));
    while (this.running === button && tokens.length < start + LONGEST && text.value.length < text.maxLength) {
      if (text.value !== whole()) break; // someone typed
      while (!model.read(tokens, performance.now() + SLICE)) await pause();
      const token = drawn(model.logs.at(-1), Number(find("temperature").value));
      tokens.push(token);
      text.value = whole();
      text.setSelectionRange(text.value.length, text.value.length);
      text.scrollTop = text.scrollHeight;
      await this.typed();
      await pause();
      if (token === this.first) break;
    }
    button.textContent = "Continue";
    if (this.running === button) this.running = null;
  }

  select(index) {
    this.at = Math.min(Math.max(index, 0), this.pieces.length);
    this.drawPlace();
  }

  // Return the log probability of a character; undefined if it is unknown, or not yet computed.
  log(model, index) {
    const [, tokens] = this.pieces[index] ?? ["", []];
    const logs = tokens.map((token, i) => model.logs[this.before[index] + i]?.[token]);
    return logs.length ? logs.reduce((a, b) => a + b) : undefined;
  }

  draw() {
    const { model } = this.models[find("surprisal").selectedIndex];
    find("cells").replaceChildren(...this.pieces.map(([character, tokens], index) => {
      const log = this.log(model, index);
      const cell = element("span", tokens.length ? "" : "unknown", inCell(character));
      if (log !== undefined) {
        cell.style.setProperty("--share", Math.min(bits(log) / STRONGEST, 1));
        cell.title = `${percent(log)} · ${bits(log).toFixed(2)} bits`;
      }
      return cell;
    }), element("span", "", " "));
    [...find("cells").children].forEach((cell, index) => {
      cell.id = `c${index}`;
      cell.setAttribute("role", "option");
    });
    const length = this.before.at(-1) + 1;
    this.cards.forEach(({ mean }, index) => {
      const { model } = this.models[index];
      if (model.tokens.length < length) {
        mean.textContent = `computing, ${Math.floor(100 * model.tokens.length / length)}%`;
        return;
      }
      const logs = this.pieces.map((_, i) => this.log(model, i)).filter((each) => each !== undefined);
      const average = logs.reduce((sum, each) => sum + bits(each), 0) / logs.length;
      if (!logs.length) mean.textContent = "\u00a0";
      else if (logs.some((each) => each <= IMPOSSIBLE)) mean.textContent = "impossible";
      else mean.textContent = `${average.toFixed(2)} bits/character`;
    });
    const unknown = new Set(this.pieces.filter(([, tokens]) => !tokens.length).map(([each]) => each));
    find("status").textContent = unknown.size
      ? `No model knows ${[...unknown].join(" ")}; such characters are skipped.` : "";
    this.drawPlace();
  }

  // Show what was expected at one character.
  drawPlace() {
    const { at } = this, [character, [typed] = []] = this.pieces[at] ?? [];
    find("cells").querySelector("[aria-selected]")?.removeAttribute("aria-selected");
    find("cells").children[at]?.setAttribute("aria-selected", "true");
    find("cells").setAttribute("aria-activedescendant", `c${at}`);
    const around = [...this.pieces.slice(Math.max(at - 24, 0), at)].map(([each]) => visible(each)).join("");
    const what = character && `Character ${at + 1}, “${visible(character)}”`;
    find("place").textContent = (what ?? "The next character") + (around ? `, after “${around}”` : "");
    this.cards.forEach(({ rows, own }, index) => {
      const { model } = this.models[index], logs = model.logs[this.before[at]];
      const order = [...(logs ?? []).keys()].filter((token) => logs[token] > IMPOSSIBLE)
        .sort((a, b) => logs[b] - logs[a]);
      rows.forEach((row, i) => {
        this.drawRow(row, this.tokenizer.label(order[i]), logs?.[order[i]], order[i] === typed);
      });
      this.drawRow(own, character === undefined ? "" : visible(character), this.log(model, at), true);
    });
    this.drawAttention();
  }

  drawRow({ children: [name, bar, value] }, label, log, typed) {
    const known = log !== undefined;
    name.textContent = known ? label : "\u00a0";
    name.className = known && typed ? "typed" : "";
    bar.style.setProperty("--share", known ? Math.exp(log) : 0);
    value.textContent = known ? percent(log) : "";
  }

  // Color the characters that the Transformer read by their weight for the one that it predicts.
  drawAttention() {
    if (!find("head").length) return;
    const [index, head] = find("head").value.split(" ").map(Number); // no head: the mean of all
    const { model } = this.models[index], token = this.before[this.at];
    const { start, attention } = model.attended[token] ?? { attention: [[]] };
    const { n_layer, n_head } = model.settings;
    const chosen = head === undefined ? attention.slice(0, n_layer * n_head) : [attention[head] ?? []];
    const mean = (i) => chosen.reduce((sum, each) => sum + each[i], 0) / chosen.length;
    const weights = Array.from(chosen[0], (_, i) => mean(i));
    const largest = Math.max(...weights);
    find("read").replaceChildren(...weights.map((weight, i) => {
      const cell = element("span", "", inCell(this.tokenizer.decode([model.tokens[start + i]])));
      cell.style.setProperty("--share", Math.sqrt(weight / largest)); // so that small weights are visible
      cell.title = percent(Math.log(weight));
      return cell;
    }));
  }
}

// Decode what the page contains, and begin.
async function load() {
  const packed = Uint8Array.from(atob(find("arrays").textContent), (each) => each.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = await new Response(stream).arrayBuffer();
  const playground = new Playground(JSON.parse(find("models").textContent), bytes);
  await playground.start();
  document.body.classList.add("ready");
  return playground;
}

if (typeof document !== "undefined") globalThis.playground = load();
