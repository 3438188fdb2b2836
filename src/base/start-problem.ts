/** Something the operator must mend before the broker can run; its message is all there is to say. */
export class StartProblem extends Error {}
