import { join } from 'node:path'
import { readCorpus, type TextDocument } from './corpus.ts'
import type { Scale, Subject } from './subject.ts'

/** An engine of text documents. */
export interface TextSubject<Engine> extends Omit<Subject<Engine>, 'content' | 'create' | 'change'> {
  create(documents: readonly TextDocument[]): Engine | Promise<Engine>
  add(engine: Engine, documents: readonly TextDocument[]): void
  /** Documents whose text changed. */
  update(engine: Engine, documents: readonly TextDocument[]): void
  remove(engine: Engine, documents: readonly TextDocument[]): void
}

interface Documents {
  base: TextDocument[]
  /** A hundredth, to add. */
  more: TextDocument[]
  /** Every hundredth or so of the base, spread all over. */
  chosen: TextDocument[]
}

let read: Documents | undefined

function documents({ root, quick }: Scale): Documents {
  if (read === undefined) {
    const all = readCorpus(join(root, 'node_modules'))
    const count = Math.floor((quick ? all.length / 10 : all.length) / 1.01)
    const base = all.slice(0, count)
    const hundredth = Math.floor(count / 100)
    const chosen = Array.from({ length: hundredth }, (_, n) => base[(n * 7919) % count]!)
    read = { base, more: all.slice(count, count + hundredth), chosen }
  }
  return read
}

/** The engine with the paragraphs of this repository's dependencies. */
export function ofText<Engine>(subject: TextSubject<Engine>, scale: Scale): Subject<Engine> {
  const { create, add, update, remove, ...rest } = subject
  return {
    ...rest,
    get content() {
      const { base } = documents(scale)
      const megabytes = base.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0) / 1e6
      const count = base.length.toLocaleString('en-US')
      return `${count} paragraphs (${megabytes.toFixed(1)} MB) of the Markdown and type declarations under this repository's \`node_modules\``
    },
    create: () => create(documents(scale).base),
    change(engine, change) {
      const { more, chosen } = documents(scale)
      if (change === 'add') add(engine, more)
      else if (change === 'remove') remove(engine, chosen)
      else {
        // A sentence more.
        const sentence = (n: number): string => more[n % more.length]!.text.slice(0, 80)
        update(
          engine,
          chosen.map((document, n) => ({ ...document, text: `${document.text} ${sentence(n)}` })),
        )
      }
    },
  }
}
