// Names of a device's memory statistics, in the order of the native structures
// (native/binding/fabric/memory.cc and snapshot.cc). Pure.

/** `tensors` and `bytes` count live tensors and their storages; the rest is the allocator's. */
export const memoryFields = [
  'tensors',
  'bytes',
  'allocatedBytes',
  'requestedBytes',
  'reservedBytes',
  'peakAllocatedBytes',
  'peakReservedBytes',
  'pendingBytes',
  'liveBlocks',
  'allocations',
  'cacheHits',
  'segments',
  'segmentAllocations',
  'splits',
  'merges',
  'retries',
  'outOfMemory',
] as const

/** Live tensors and allocator statistics of one device; sizes in bytes. */
export type DeviceMemory = Record<(typeof memoryFields)[number], number>
