// The rows of indexes and finds with PouchDB: the documents of src/documents, in LevelDB.
//
//   npm install && node find.mjs [DOCUMENTS]      100 000 by default
//
// PouchDB brings an index up to date when it is asked, so an import with an index ends with a find.
// It syncs no write: compare with imports that are not durable.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import PouchDB from 'pouchdb';
import find from 'pouchdb-find';

PouchDB.plugin(find);
const documents = Number(process.argv[2] ?? 100_000);
const folder = mkdtempSync(join(tmpdir(), 'pouchdb-find-'));
const [BATCH, PAGE, TAGS, NUMBERS, SECONDS] = [1_000, 50, 100, 1_000_000_000, 2];
// With one index the first, as the other engines have it.
const INDEXES = [['tag', 'modified'], ['price'], ['sku']];

const below = (end) => Math.floor(Math.random() * end);
const padded = (n, digits) => String(n).padStart(digits, '0');
const sku = (n) => `sku-${padded(n, 10)}`;
const tag = (n) => `tag-${padded(n, 3)}`;
const letter = () => String.fromCharCode(97 + below(26));
const note = (n) => ({
  _id: `item-${padded(n, 16)}`,
  sku: sku(n),
  tag: tag(below(TAGS)),
  modified: below(NUMBERS),
  price: below(NUMBERS),
  text: Array.from({ length: 164 }, letter).join(''),
});

const print = (what, rate) => console.log(`${what.padEnd(40)} ${rate.toFixed(0).padStart(9)} a second`);

async function imported(name, indexes) {
  const db = new PouchDB(join(folder, name));
  for (const fields of INDEXES.slice(0, indexes)) {
    await db.createIndex({ index: { fields } });
  }
  let spent = 0;
  const timed = async (work) => {
    const began = performance.now();
    await work();
    spent += performance.now() - began;
  };
  for (let first = 0; first < documents; first += BATCH) {
    const length = Math.min(BATCH, documents - first);
    const notes = Array.from({ length }, (_, n) => note(first + n));
    await timed(() => db.bulkDocs(notes));
  }
  for (const fields of INDEXES.slice(0, indexes)) {
    await timed(() => db.find({ selector: { [fields[0]]: '' }, limit: 1 }));
  }
  print(`import with ${indexes} indexes`, (documents / spent) * 1000);
  return db;
}

async function finds(db, what, query) {
  const began = performance.now();
  let done = 0;
  while (performance.now() - began < SECONDS * 1000) {
    const { docs } = await db.find(query());
    if (docs.length === 0) throw new Error(`${what} found nothing`);
    done += 1;
  }
  print(what, (done / (performance.now() - began)) * 1000);
}

async function replaces(db, what, change) {
  const began = performance.now();
  let done = 0;
  while (performance.now() - began < SECONDS * 1000) {
    const doc = await db.get(`item-${padded(below(documents), 16)}`);
    change(doc);
    await db.put(doc);
    done += 1;
  }
  print(what, (done / (performance.now() - began)) * 1000);
}

try {
  console.log(`${documents} documents of 256 bytes, PouchDB ${PouchDB.version}, node ${process.version}`);
  await (await imported('none', 0)).close();
  await (await imported('one', 1)).close();
  const db = await imported('three', 3);
  await finds(db, 'find of one document', () => ({ selector: { sku: sku(below(documents)) }, limit: 1 }));
  await finds(db, 'listings of a range, by price', () => ({
    selector: { price: { $gte: below(NUMBERS * 0.9) } }, sort: ['price'], limit: PAGE,
  }));
  await finds(db, 'listings of the newest of one tag', () => ({
    selector: { tag: tag(below(TAGS)) }, sort: [{ tag: 'desc' }, { modified: 'desc' }], limit: PAGE,
  }));
  await replaces(db, 'replace, an indexed field', (doc) => { doc.price = below(NUMBERS); });
  await replaces(db, 'replace, another field', (doc) => { doc.text = padded(below(NUMBERS), 164); });
  await db.close();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
