// The adapter for Orama. Orama keeps every word three times (tree, frequencies, occurrences) and every sortable value
// twice. The adapter saves a row for each document, with everything that belongs to the document, in the order in which
// documents were indexed. The other blobs hold only what cannot be derived from these rows.
//
//    head            settings, counts, averages, pinning
//    ids             a line each: the document id of internal id 1, 2, …
//    documents       rows as `posting-rows.ts` has them: the internal id is the id of the row, and it has a cell for
//                    each text property (`orama-text.ts`)
//    order/<n>       of text property n: the order of the tree's children (`term-order.ts`)
//    words/<n>       of text property n: what follows from no document
//    tree/<n>        of any other property n: its tree, as JSON (`json-tree.ts`)
//    vectors/<n>     of vector property n: what differs from the documents' own (`orama-vectors.ts`)
//    sort/<n>        of sortable property n: internal ids in order (`orama-sort.ts`)
//
// A database may use a plugin's index, sorter or documents store. The adapter does not know what such a component
// saves, so it stores the whole result of Orama's `save` as JSON, in one blob `whole`.

import { readTree } from '../encodings/json-tree.ts'
import { assertOptions } from '../misuse.ts'
import type { EngineAdapter } from './adapter.ts'
import { restoring } from './engine-failed.ts'
import { saveOrama } from './orama-capture.ts'
import type { OramaDb } from './orama-raw.ts'
import { restoreOrama } from './orama-restore.ts'
import { packageVersion } from './version.ts'

/** What is called of the package: `import * as Orama from '@orama/orama'`. */
export interface OramaModule<Db extends object, Options extends OramaOptions> {
  create(options: Options): Db | Promise<Db>
  load(db: Db, raw: never): unknown
  save(db: Db): unknown
}

interface OramaOptions {
  schema: object
  language?: string | undefined
  components?: { tokenizer?: unknown } | undefined
  sort?: { enabled?: boolean | undefined; unsortableProperties?: readonly string[] | undefined } | undefined
}

/** What the Orama adapter cannot find out from the options of the engine. */
export interface OramaAdapterOptions {
  /**
   * A name for your tokenizer component; change it when it changes. Without a name, all tokenizers of your own count as
   * equal.
   */
  tokenizer?: string | undefined
  /** Of the @orama/orama package, where it cannot be found. */
  version?: string | undefined
}

/**
 * Saves and restores an Orama database: `orama(Orama, { schema: { title: 'string' } })`, the options being those of
 * `create`.
 */
export function orama<Db extends object, Options extends OramaOptions>(
  Orama: OramaModule<Db, Options>,
  createOptions: Options,
  options: OramaAdapterOptions = {},
): EngineAdapter<Db> {
  assertOptions('orama', options, { tokenizer: 'any', version: 'any' })
  const { schema, components, sort } = createOptions
  const tokenizer = options.tokenizer ?? (components?.tokenizer === undefined ? 'default' : 'custom')
  return {
    name: 'orama',
    layout: 2,
    version: options.version ?? packageVersion('@orama/orama'),
    options: {
      schema: JSON.parse(JSON.stringify(schema)),
      language: languageOf(createOptions.language),
      tokenizer,
      sort: sort?.enabled === false ? false : { except: [...(sort?.unsortableProperties ?? [])].sort() },
    },
    recorded: (saved) => ({ ...saved, language: languageOf(saved.language) }),
    save: (db, { turn }) => saveOrama(Orama, db, Orama.create({ schema: {} } as Options), turn),
    restore(given, { signal }) {
      const option = 'the options of create(): schema, components, plugins'
      return restoring(given, { engine: 'orama', option, signal }, async (saved) => {
        const db = await Orama.create(createOptions)
        const load = (raw: unknown): unknown => Orama.load(db, raw as never)
        if (saved.has('whole')) await load(await readTree(saved.blob('whole').stream()))
        else await restoreOrama(db as unknown as OramaDb, load, saved, signal)
        return db
      })
    },
  }
}

/** English is Orama's own default. */
function languageOf(language: unknown): unknown {
  return language === 'english' ? 'default' : (language ?? 'default')
}
