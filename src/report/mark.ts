// By what a page is known to be a report. Apart, so that the program can look before it loads the rest.

/** How a report begins. A file that begins so may be replaced by another report. */
export const REPORT_MARK = '<!doctype html>\n<!-- holdfast report -->\n'
