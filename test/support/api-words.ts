/** Words that only a program can follow: calls, and names of options. */
export const API_WORDS =
  /\b[a-z][A-Za-z.]*\((?:\)|\{)|\b(?:lockWaitMs|readOnly|rolledBack|mayDrop|damagedBlobs|filesDir|keepLast|temporaryDirectory|startOver|acceptLoss|followLinks|budgetBytes|dropIncomplete|onConflict|maxJournalBytes)\b/
