/** Loaded into the broker before it starts: at SIGUSR2 collects garbage, which a broker without work leaves lying. */
process.on('SIGUSR2', () => globalThis.gc?.());
