/** Which redirect URIs may be registered, and when a requested one is a registered one. */

/**
 * Schemes that mean something already, so that no application can own them: a redirect there does to the user, or to a
 * program that knows nothing of OAuth, what the client chose to write. RFC 8252 §7.1 wants a reversed domain name, which
 * would be rule enough; but Cursor, VS Code and others have one word each, so here are the words that are taken instead.
 */
const TAKEN_SCHEMES: ReadonlySet<string> = new Set(
  [
    // Run or read by the browser itself.
    'javascript data vbscript livescript jscript mocha file filesystem blob about view-source resource jar wyciwyg',
    'chrome devtools edge opera vivaldi brave',
    'moz-extension safari-extension safari-web-extension res mk mhtml cid mid urn tag',
    // Protocols, most of them in IANA's registry: a program connects where the URI says, or sends what it says.
    'ftp ftps sftp tftp gopher gemini ws wss news nntp nntps wais telnet tn3270 rlogin rsh ssh scp rsync',
    'ldap ldaps nfs smb cifs afp afs dav davs webdav webdavs imap imaps pop pop3 rtsp rtsps rtmp mms mmsh',
    'rdp vnc spice citrix ica git svn hg bzr cvs redis rediss mysql postgres postgresql mongodb jdbc odbc amqp amqps',
    'mqtt mqtts coap coaps stun stuns turn turns dict finger ipp ipps magnet ed2k bitcoin ethereum ipfs ipns dns',
    // A message or a call to somebody.
    'mailto tel sms smsto fax callto sip sips xmpp im pres irc irc6 ircs facetime facetime-audio skype',
    // Handed to the system: it starts, installs, searches or looks up what the URI says.
    'shell search search-ms hcp help wscript powershell cmd explorer msdt intent android-app market',
    'content itms itms-apps itms-appss itms-services itms-beta applescript x-man-page man info apt aptu deb snap flatpak',
    'appstream steam nix dpkg vsto vscode-webview java jnlp jnlps application webcal webcals geo maps calshow',
    'prefs app-prefs settings bookmarklet keychain disk help-viewer macappstore macappstores onenote winget',
  ].flatMap((names) => names.split(' ')),
);

/**
 * Families that grow: Windows' and Office's own (`ms-msdt:`, `ms-word:`), Apple's (`x-apple.systempreferences:`), and what
 * web sites and browser extensions may claim, which have https addresses.
 */
const TAKEN_FAMILIES = /^(?:ms-|x-apple|web\+|ext\+|chrome-|(?:git|svn|hg|bzr)\+)/;

/** Whether `protocol` (lower case, with its colon) may be the private scheme of an application. */
function isPrivateUse(protocol: string): boolean {
  const name = protocol.slice(0, -1);
  // One letter is a drive to Windows.
  return name.length > 1 && !TAKEN_SCHEMES.has(name) && !TAKEN_FAMILIES.test(name);
}

const LOOPBACK = /^http:\/\/(localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?(\/[^#]*|\?[^#]*)?$/i;

export function isLoopback(uri: string): boolean {
  return LOOPBACK.test(uri);
}

/** Says why a redirect URI cannot be registered, or nothing. RFC 9700 §2.1, RFC 8252 §7. */
export function refusalOfRedirectUri(uri: string): string | undefined {
  if (uri.length > 2000) return 'it is longer than 2000 characters';
  // What browsers and servers read differently: `\` for `/`, letters beyond ASCII, white space that vanishes.
  if (!/^[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=%]*$/.test(uri))
    return 'it holds a character that no URI may hold (RFC 3986)';
  if (!URL.canParse(uri)) return 'it is not an absolute URI';
  // `https:host/path` is a relative reference to a browser that comes from an https page.
  if (/^https?:(?!\/\/[^/])/i.test(uri)) return 'it is not an absolute URI';
  const { protocol, username, password } = new URL(uri);
  if (uri.includes('#')) return 'it has a fragment (RFC 6749)';
  if (username !== '' || password !== '') return 'it holds credentials';
  if (protocol === 'https:') return undefined;
  if (protocol === 'http:') return isLoopback(uri) ? undefined : 'plain http is for loopback addresses only';
  return isPrivateUse(protocol) ? undefined : `scheme ${protocol} is never a client`;
}

/** Of all redirect URIs of a client: strangers register clients, and each is kept in store and memory with every one. */
const MAX_TOTAL_LENGTH = 4096;

/** Says why a client cannot have these redirect URIs, or nothing. */
export function refusalOfRedirectUris(uris: readonly string[]): string | undefined {
  const total = uris.reduce((sum, uri) => sum + uri.length, 0);
  if (total > MAX_TOTAL_LENGTH) return `all of them are longer than ${MAX_TOTAL_LENGTH} characters together`;
  return uris.map(refusalOfRedirectUri).find((refusal) => refusal !== undefined);
}

/**
 * Exact string comparison (RFC 9700 §4.1.3), except that the port of an http loopback URI is ignored
 * (RFC 8252 §7.3), for `localhost` too: Claude Code and Codex register it without one.
 */
export function matchesRedirectUri(registered: string, requested: string): boolean {
  if (registered === requested) return true;
  const a = LOOPBACK.exec(registered);
  const b = LOOPBACK.exec(requested);
  if (a === null || b === null || !URL.canParse(requested)) return false;
  return a[1]?.toLowerCase() === b[1]?.toLowerCase() && (a[2] ?? '/') === (b[2] ?? '/');
}
