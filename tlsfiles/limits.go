package tlsfiles

import "time"

const (
	// MaxFileBytes bounds a file: hundreds of certificates.
	MaxFileBytes = 1 << 20

	// CheckInterval is how long a look at the files is good for.
	CheckInterval = time.Second

	// maxNotice is how long before its end a certificate is complained of, if it is valid for
	// long enough; else what is left is a quarter, which those who renew by themselves never
	// come to. noticeInterval is how often.
	maxNotice      = 14 * 24 * time.Hour
	noticeInterval = 24 * time.Hour

	// maxNameBytes bounds a common name (RFC 5280, ub-common-name) and with it the name of a
	// file; maxNames how many names one certificate has.
	maxNameBytes = 64
	maxNames     = 100
)
