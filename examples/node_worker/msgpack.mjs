// MessagePack, as much of it as a worker needs: maps become Map, bin becomes Buffer, ext is refused.

export function encode(value) {
  const parts = [];
  write(value, parts);
  return Buffer.concat(parts);
}

export function decode(buffer) {
  const reader = { buffer, at: 0 };
  const value = read(reader);
  if (reader.at !== buffer.length) throw new RangeError('bytes after the value');
  return value;
}

function write(value, parts) {
  if (value === null || value === undefined) parts.push(Buffer.of(0xc0));
  else if (typeof value === 'boolean') parts.push(Buffer.of(value ? 0xc3 : 0xc2));
  else if (typeof value === 'number' && !Number.isSafeInteger(value)) parts.push(number(0xcb, 8, 'writeDoubleBE', value));
  else if (typeof value === 'number' || typeof value === 'bigint') writeInteger(value, parts);
  else if (typeof value === 'string') {
    const text = Buffer.from(value, 'utf8');
    parts.push(head(text.length, [0xa0, 32], [0xd9, 0xda, 0xdb]), text);
  } else if (value instanceof Uint8Array) {
    parts.push(head(value.length, [0, 0], [0xc4, 0xc5, 0xc6]), value);
  } else if (Array.isArray(value)) {
    parts.push(head(value.length, [0x90, 16], [null, 0xdc, 0xdd]));
    for (const item of value) write(item, parts);
  } else if (typeof value === 'object') {
    const entries = value instanceof Map ? [...value] : Object.entries(value);
    parts.push(head(entries.length, [0x80, 16], [null, 0xde, 0xdf]));
    for (const entry of entries) for (const item of entry) write(item, parts);
  } else throw new TypeError(`a ${typeof value} cannot be encoded`);
}

function writeInteger(value, parts) {
  if (value >= -32 && value < 128) parts.push(Buffer.of(Number(value) & 0xff));
  else if (value >= 0 && value < 2 ** 32) parts.push(head(Number(value), [0, 0], [0xcc, 0xcd, 0xce]));
  else if (value >= 0) parts.push(number(0xcf, 8, 'writeBigUInt64BE', BigInt(value)));
  else if (value >= -(2 ** 31)) parts.push(number(0xd2, 4, 'writeInt32BE', Number(value)));
  else parts.push(number(0xd3, 8, 'writeBigInt64BE', BigInt(value)));
}

function number(type, size, method, value) {
  const bytes = Buffer.alloc(1 + size, type);
  bytes[method](value, 1);
  return bytes;
}

// The shortest head for a length: inside the type's own byte below [1] of `fix`, else in 1, 2 or 4 bytes.
function head(length, [fix, end], [one, two, four]) {
  if (length < end) return Buffer.of(fix | length);
  if (one !== null && length < 2 ** 8) return Buffer.of(one, length);
  if (length < 2 ** 16) return number(two, 2, 'writeUInt16BE', length);
  return number(four, 4, 'writeUInt32BE', length);
}

function read(reader) {
  const type = unsigned(reader, 1);
  if (type < 0x80) return type;
  if (type < 0x90) return readMap(reader, type & 0x0f);
  if (type < 0xa0) return readArray(reader, type & 0x0f);
  if (type < 0xc0) return readText(reader, type & 0x1f);
  if (type >= 0xe0) return type - 0x100;
  switch (type) {
    case 0xc0: return null;
    case 0xc2: return false;
    case 0xc3: return true;
    case 0xca: return take(reader, 4).readFloatBE();
    case 0xcb: return take(reader, 8).readDoubleBE();
    case 0xcf: return readable(take(reader, 8).readBigUInt64BE());
    case 0xd3: return readable(take(reader, 8).readBigInt64BE());
    case 0xc4: case 0xc5: case 0xc6: return Buffer.from(take(reader, unsigned(reader, 1 << (type - 0xc4))));
    case 0xcc: case 0xcd: case 0xce: return unsigned(reader, 1 << (type - 0xcc));
    case 0xd0: case 0xd1: case 0xd2: return take(reader, 1 << (type - 0xd0)).readIntBE(0, 1 << (type - 0xd0));
    case 0xd9: case 0xda: case 0xdb: return readText(reader, unsigned(reader, 1 << (type - 0xd9)));
    case 0xdc: case 0xdd: return readArray(reader, unsigned(reader, 2 << (type - 0xdc)));
    case 0xde: case 0xdf: return readMap(reader, unsigned(reader, 2 << (type - 0xde)));
  }
  throw new TypeError(`cannot read a value of type 0x${type.toString(16)}`);
}

function take(reader, length) {
  const end = reader.at + length;
  if (end > reader.buffer.length) throw new RangeError('a value cut short');
  return reader.buffer.subarray(reader.at, (reader.at = end));
}

function unsigned(reader, size) {
  return take(reader, size).readUIntBE(0, size);
}

function readable(big) {
  return Number.isSafeInteger(Number(big)) ? Number(big) : big;
}

// PHP packs binary as str: what is not UTF-8 stays bytes.
function readText(reader, length) {
  const bytes = take(reader, length);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return Buffer.from(bytes);
  }
}

function readArray(reader, length) {
  const items = [];
  while (items.length < length) items.push(read(reader));
  return items;
}

function readMap(reader, length) {
  const map = new Map();
  for (let i = 0; i < length; i++) {
    const key = read(reader);
    map.set(key, read(reader));
  }
  return map;
}
