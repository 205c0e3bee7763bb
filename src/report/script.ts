// The one script of a page: the theme, exact numbers, and a walk through the timeline by mouse and keyboard. The page
// is complete without it. It handles text as text: nothing of a store becomes markup.

export const SCRIPT = `
'use strict'
{
  const byId = (id) => document.getElementById(id)
  const root = document.documentElement
  const theme = byId('theme')
  const themes = ['system', 'light', 'dark']
  theme.hidden = false
  theme.addEventListener('click', () => {
    const now = root.dataset.theme ?? 'system'
    const next = themes[(themes.indexOf(now) + 1) % themes.length]
    if (next === 'system') delete root.dataset.theme
    else root.dataset.theme = next
    theme.textContent = 'Theme: ' + next
  })

  const exact = byId('exact')
  exact.hidden = false
  exact.addEventListener('click', () => {
    const isOn = exact.getAttribute('aria-pressed') !== 'true'
    exact.setAttribute('aria-pressed', String(isOn))
    for (const data of document.querySelectorAll('data')) {
      data.dataset.short ??= data.textContent
      data.textContent = isOn ? Number(data.value).toLocaleString('en') : data.dataset.short
    }
  })

  const figure = byId('timeline')
  if (figure) {
    const svg = figure.querySelector('svg')
    const pick = byId('pick')
    const picked = byId('picked')
    const rows = [...figure.parentElement.querySelectorAll('tbody tr')].filter((row) => row.querySelector('[id^=added-]')).reverse()
    const left = Number(svg.dataset.left)
    const step = Number(svg.dataset.step)
    let at = rows.length - 1
    const sentence = (row) => {
      const [sequence, time, state, size, added, frees, tags, message] = [...row.cells].map((cell) => cell.textContent.trim())
      return 'Snapshot ' + sequence + (state ? ' (' + state + ')' : '') + ', ' + time + ': ' + size + ', added ' + added + ', would free ' + frees +
        (tags ? '. Tags: ' + tags : '') + (message ? '. ' + message : '')
    }
    const show = (next) => {
      rows[at].classList.remove('on')
      at = Math.min(Math.max(next, 0), rows.length - 1)
      const row = rows[at]
      row.classList.add('on')
      pick.setAttribute('x', String(left + at * step))
      pick.setAttribute('visibility', 'visible')
      picked.hidden = false
      picked.textContent = sentence(row)
      figure.setAttribute('aria-valuenow', String(at + 1))
      figure.setAttribute('aria-valuetext', picked.textContent)
    }
    svg.setAttribute('aria-hidden', 'true')
    for (const [name, value] of Object.entries({
      role: 'slider', tabindex: '0', 'aria-valuemin': '1', 'aria-valuemax': String(rows.length), 'aria-label': 'Snapshot of the timeline',
    })) figure.setAttribute(name, value)
    show(at)
    figure.addEventListener('keydown', (event) => {
      const to = {
        ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1,
        PageUp: at + 10, PageDown: at - 10, Home: 0, End: rows.length - 1,
      }[event.key]
      if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return
      event.preventDefault()
      show(to)
    })
    figure.addEventListener('pointermove', (event) => {
      const box = svg.getBoundingClientRect()
      const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width
      if (x >= left) show(Math.floor((x - left) / step))
    })
  }
}
`
