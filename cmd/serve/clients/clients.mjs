// The openai package of npm against a server that runs: node clients.mjs URL KEY
import assert from 'node:assert/strict';
import OpenAI, { AuthenticationError, BadRequestError, toFile } from 'openai';

const [url, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url + '/v1', apiKey, maxRetries: 0 });
const more = { seed: 7, steps: 3 };
const size = png => [png.readUInt32BE(16), png.readUInt32BE(20)]; // of a PNG's first chunk

const models = [];
for await (const m of client.models.list()) models.push(m.id);
assert.deepEqual(models, ['mini-sd', 'mini-blip', 'mini-clip']);

const two = await client.images.generate({ prompt: 'a cat on the grass', n: 2, size: '64x64', response_format: 'b64_json', ...more });
const pngs = two.data.map(d => Buffer.from(d.b64_json, 'base64'));
assert.deepEqual(pngs.map(size), [[64, 64], [64, 64]]);
assert(!pngs[0].equals(pngs[1]));

const kinds = [];
const stream = await client.images.generate({ prompt: 'a cat on the grass', stream: true, partial_images: 2, seed: 7, steps: 6 });
for await (const e of stream) kinds.push(e.type);
assert.deepEqual(kinds, ['image_generation.partial_image', 'image_generation.partial_image', 'image_generation.completed']);

const edit = await client.images.edit({ image: await toFile(pngs[0], 'x.png', { type: 'image/png' }), prompt: 'a dog', ...more });
assert.deepEqual(size(Buffer.from(edit.data[0].b64_json, 'base64')), [64, 64]);

const e = await client.embeddings.create({ model: 'mini-clip', input: ['a cat', 'two red apples'] });
assert.equal(e.data.length, 2);
assert(Math.abs(e.data[0].embedding.reduce((sum, v) => sum + v * v, 0) - 1) < 1e-4);

await assert.rejects(client.images.generate({ prompt: 'a', n: 99 }), BadRequestError);
await assert.rejects(new OpenAI({ baseURL: url + '/v1', apiKey: 'wrong', maxRetries: 0 }).models.list(), AuthenticationError);
console.log('openai (npm) is served');
