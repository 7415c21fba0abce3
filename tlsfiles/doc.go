// Package tlsfiles makes the files that TLS needs, reads them, and reads them again
// when they change.
//
// [CA] issues the certificates of a small installation. [Source] is a certificate, its
// key and a bundle of CAs, as they are on the disk: whoever replaces the files renews what
// the next handshake uses, and no connection is dropped.
//
// All cryptography is crypto/x509's and crypto/tls's.
package tlsfiles
