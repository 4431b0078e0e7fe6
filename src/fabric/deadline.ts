// A promise with a deadline. Waits of the fabric and of the trainer's coordinator end through it.

/**
 * What `work` becomes, or what `late` gives (or throws) when `limitMs` have passed before. The work
 * itself goes on; its late failure is nobody's.
 */
export async function withDeadline<T, L>(
  work: Promise<T>,
  limitMs: number,
  late: () => L,
): Promise<T | L> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, limitMs)
  })
  try {
    return await Promise.race([work, limit.then(late)])
  } finally {
    clearTimeout(timer)
  }
}
