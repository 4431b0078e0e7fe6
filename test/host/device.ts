// The device that the host suite runs on: host:0, or what WEFT_TEST_DEVICE names on a GPU box.
export const device = process.env.WEFT_TEST_DEVICE ?? 'host:0'
