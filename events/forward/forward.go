// Package forward brings events to the application, signed after Standard
// Webhooks, until it has taken them.
package forward
