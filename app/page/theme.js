// The theme: the system's, or the one that was chosen and is kept in localStorage. Runs before the first paint, and
// is no module for that reason.
'use strict'
{
  const NEXT = { system: 'light', light: 'dark', dark: 'system' }
  const SIGNS = { system: '◐', light: '☀', dark: '☾' }
  const root = document.documentElement

  const stored = () => {
    try {
      return localStorage.getItem('optim.theme') ?? 'system'
    } catch {
      return 'system' // storage is blocked
    }
  }

  const choose = (theme) => {
    root.dataset.theme = theme
    try {
      localStorage.setItem('optim.theme', theme)
    } catch {
      // the choice lasts as long as the page
    }
  }

  /** Tell those who draw on a canvas. */
  const announce = () => root.dispatchEvent(new Event('themechange'))

  root.dataset.theme = stored() in NEXT ? stored() : 'system'
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', announce)

  document.addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme')
    const show = () => {
      const theme = root.dataset.theme
      button.textContent = SIGNS[theme]
      button.setAttribute('aria-label', `Theme: ${theme}. Change to ${NEXT[theme]}`)
      button.title = `Theme: ${theme}`
    }
    button.addEventListener('click', () => {
      choose(NEXT[root.dataset.theme])
      show()
      announce()
    })
    show()
  })
}
