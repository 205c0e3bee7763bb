// Makes the API reference from the docstrings: `npm run docs` writes it to docs/api/html. It reads the declarations
// that the build made, so it shows what the package exports and nothing else. It fails at every warning, such as a link
// that leads nowhere. That every export has a docstring is tested by test/docs/api.test.ts.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Application, ReflectionKind } from 'typedoc'

const home = fileURLToPath(new URL('.', import.meta.url))
const root = join(home, '../..')
const { name, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const declarations = Object.entries(exports).flatMap(([path, { types }]) => (types ? [{ path, types }] : []))

const app = await Application.bootstrap({
  name,
  entryPoints: declarations.map(({ types }) => join(root, types)),
  tsconfig: join(home, 'tsconfig.json'),
  out: join(home, 'html'),
  readme: join(root, 'README.md'),
  excludeExternals: true,
  excludePrivate: true,
  disableSources: true,
  skipErrorChecking: false,
  treatWarningsAsErrors: true,
  validation: { notExported: false, invalidLink: true },
})
const project = await app.convert()
if (project === undefined) process.exit(1)

// Modules have the names of their entries, and not those of files in dist/.
for (const module of project.getReflectionsByKind(ReflectionKind.Module)) {
  const file = join(root, 'dist', `${module.name}.d.ts`)
  const entry = declarations.find(({ types }) => join(root, types) === file)
  if (entry !== undefined) module.name = `${name}${entry.path.slice(1)}`
}

app.validate(project)
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1)
await app.generateOutputs(project)
if (app.logger.hasErrors() || app.logger.hasWarnings()) process.exit(1)
