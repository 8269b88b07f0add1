package ses

import (
	"fmt"
	"regexp"
	"strings"

	"smtpbridge/internal/config"
	"smtpbridge/providers/httpapi"
)

// maxName is the longest name of a configuration set, a list, a topic or a tenant.
const maxName = 64

// Config is one AWS account in one region: identities, quotas and the sandbox
// are each region's own. Without keys the AWS default chain is asked:
// environment, shared files, single sign-on, web identity, container, instance.
type Config struct {
	httpapi.Config `toml:",squash"`

	Region          string        `toml:"region"`
	AccessKeyID     config.Secret `toml:"access_key_id"`
	SecretAccessKey config.Secret `toml:"secret_access_key"`
	// SessionToken belongs to temporary keys.
	SessionToken config.Secret `toml:"session_token"`
	// ConfigurationSet publishes the events; X-SES-CONFIGURATION-SET overrides it.
	ConfigurationSet string `toml:"configuration_set"`
	// SNSTopicARNs are the topics whose notifications are taken.
	SNSTopicARNs []string `toml:"sns_topic_arns"`
}

// DefaultConfig names the provider by its type.
func DefaultConfig() Config { return Config{Config: httpapi.DefaultConfig(providerType)} }

// regionPattern: eu-west-1, us-gov-west-1, eusc-de-east-1.
const regionPattern = `[a-z]{2,10}(?:-[a-z]{2,20}){1,3}-[0-9]{1,2}`

var regionForm = regexp.MustCompile(`^` + regionPattern + `$`)

// Validate reports every problem: the key, and what would be right.
func (c Config) Validate(report func(key, problem string)) {
	c.Config.Validate(report)
	switch {
	case c.Region == "":
		report("region", `is missing; name the region in which the identities are verified, such as "eu-west-1" (AWS_REGION is not read for it)`)
	case !regionForm.MatchString(c.Region):
		report("region", `must be the code of a region, such as "eu-west-1"`)
	}
	c.validateKeys(report)
	if c.ConfigurationSet != "" && !isName(c.ConfigurationSet) {
		report("configuration_set", "must be the name of a configuration set: 1 to 64 letters, digits, _ and -")
	}
	for i, arn := range c.SNSTopicARNs {
		validateTopic(arn, func(problem string) { report(fmt.Sprintf("sns_topic_arns[%d]", i), problem) })
	}
}

func validateTopic(arn string, report func(problem string)) {
	switch {
	case topicForm.MatchString(arn):
	case strings.HasSuffix(arn, ".fifo"):
		report(fmt.Sprintf("%q is a FIFO topic, which delivers to no web server; give a standard one", arn))
	case subscriptionForm.MatchString(arn):
		report(fmt.Sprintf("%q is a subscription; give the topic alone, without what stands behind its name", arn))
	default:
		report(fmt.Sprintf(`%q is no topic of SNS; write its ARN, such as "arn:aws:sns:eu-west-1:123456789012:mail"`, arn))
	}
}

func (c Config) validateKeys(report func(key, problem string)) {
	id, secret, token := c.AccessKeyID.Reveal(), c.SecretAccessKey.Reveal(), c.SessionToken.Reveal()
	const chain = "or leave all of access_key_id, secret_access_key and session_token empty for the AWS default chain"
	switch {
	case id == "" && (secret != "" || token != ""):
		report("access_key_id", `is missing; give the id of the key, such as "env:AWS_ACCESS_KEY_ID", `+chain)
	case id != "" && secret == "":
		report("secret_access_key", `is missing; give the secret of the key, such as "env:AWS_SECRET_ACCESS_KEY", `+chain)
	case strings.HasPrefix(id, "ASIA") && token == "":
		report("session_token", "is missing; access_key_id is a temporary key, which needs the token given with it")
	}
	for _, key := range [...]struct{ name, value string }{
		{"access_key_id", id}, {"secret_access_key", secret}, {"session_token", token},
	} {
		if strings.ContainsFunc(key.value, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			report(key.name, "holds a blank, a line break or a character that is not ASCII; give the value alone")
		}
	}
}

// isName: of a configuration set, and of what else is named in the API.
func isName(s string) bool {
	return s != "" && len(s) <= maxName && !strings.ContainsFunc(s, isNoNameRune)
}

func isNoNameRune(r rune) bool {
	return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}
