/** Conversion between float32 and the bits of float16 and bfloat16: to nearest even, and to infinity beyond the range. */

const SIGN = 0x8000
const MAGNITUDE = 0x7fff_ffff
const INFINITY = 0x7f80_0000
const SMALLEST_NORMAL = 0x3880_0000 // 2⁻¹⁴ as the bits of float32
const ROUNDS_TO_INFINITY = 0x477f_f000 // 65520: half-way between the largest float16 and 2¹⁶
const SUBNORMALS_PER_ONE = 2 ** 24

/** Return the bits of bfloat16. */
export function toBfloat16(exact: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = bitsOf(exact)
  const rounded = new Uint16Array(bits.length)
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!
    const isNaN = (b & MAGNITUDE) > INFINITY
    rounded[i] = isNaN ? (b >>> 16) | 0x0040 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16
  }
  return rounded
}

/** Return the bits of float16. */
export function toFloat16(exact: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = bitsOf(exact)
  const rounded = new Uint16Array(bits.length)
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!
    rounded[i] = ((b >>> 16) & SIGN) | magnitudeOf(b & MAGNITUDE, Math.abs(exact[i]!))
  }
  return rounded
}

function magnitudeOf(bits: number, value: number): number {
  if (bits > INFINITY) return 0x7e00
  if (bits >= ROUNDS_TO_INFINITY) return 0x7c00
  if (bits < SMALLEST_NORMAL) return nearestEven(value * SUBNORMALS_PER_ONE)
  return (bits - (112 << 23) + 0xfff + ((bits >>> 13) & 1)) >>> 13
}

function nearestEven(value: number): number {
  const below = Math.floor(value)
  const rest = value - below
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below
}

/** Return the float32 numbers of bfloat16 bits. */
export function fromBfloat16(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const wide = new Uint32Array(bits.length)
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16
  return new Float32Array(wide.buffer)
}

/** Return the float32 numbers of float16 bits. */
export function fromFloat16(bits: Uint16Array): Float32Array<ArrayBuffer> {
  const wide = new Float32Array(bits.length)
  for (let i = 0; i < bits.length; i++) wide[i] = numberOf(bits[i]!)
  return wide
}

function numberOf(bits: number): number {
  const sign = bits & SIGN ? -1 : 1
  const exponent = (bits >>> 10) & 31
  const fraction = bits & 1023
  if (exponent === 31) return fraction ? NaN : sign * Infinity
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction / SUBNORMALS_PER_ONE)
}

/** The elements that rounding made zero or infinite. */
export interface Loss {
  zeros: number
  infinities: number
}

/** Count what rounding float32 to bits lost; `infinity` is that dtype's. */
export function lossOf(exact: Float32Array, rounded: Uint16Array, dtype: 'float16' | 'bfloat16'): Loss {
  const infinity = dtype === 'float16' ? 0x7c00 : 0x7f80
  const loss = { zeros: 0, infinities: 0 }
  for (let i = 0; i < rounded.length; i++) {
    const magnitude = rounded[i]! & 0x7fff
    if (magnitude === 0 && exact[i] !== 0) loss.zeros++
    else if (magnitude === infinity && Number.isFinite(exact[i])) loss.infinities++
  }
  return loss
}

function bitsOf(exact: Float32Array): Uint32Array {
  return new Uint32Array(exact.buffer, exact.byteOffset, exact.length)
}
