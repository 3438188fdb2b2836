/** The log is the last to complain, and must not be what ends the broker. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { test } from 'node:test';
import { LOG_FORMATS } from '../../src/base/log.js';

const LOG = new URL('../../src/base/log.js', import.meta.url);

for (const format of LOG_FORMATS) {
  test(`a log (${format}) that cannot be written does not end its process`, {
    skip: !existsSync('/dev/full'),
  }, () => {
    const full = openSync('/dev/full', 'w');
    const program = `
      const { createLog } = await import('${LOG}');
      const log = createLog('info', '${format}');
      for (let n = 0; n < 5; n += 1) {
        log.info('store.unwritable', { padding: 'x'.repeat(300_000) });
        await new Promise(setImmediate);
      }
      process.stdout.write('alive');`;
    const { stdout, status } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
      stdio: ['ignore', 'pipe', full],
      encoding: 'utf8',
    });
    closeSync(full);
    assert.deepEqual([stdout, status], ['alive', 0]);
  });
}
