package ses_test

import (
	"slices"
	"strings"
	"testing"

	"smtpbridge/internal/config"
	"smtpbridge/providers/ses"
)

func TestConfigValidate(t *testing.T) {
	secret := config.NewSecret
	for _, c := range []struct {
		name   string
		change func(*ses.Config)
		want   []string
	}{
		{"all", func(*ses.Config) {}, nil},
		{"keys of the chain", func(c *ses.Config) {
			c.AccessKeyID, c.SecretAccessKey, c.SessionToken = config.Secret{}, config.Secret{}, config.Secret{}
		}, nil},
		{"lasting keys", func(c *ses.Config) { c.SessionToken = config.Secret{} }, nil},
		{"no region", func(c *ses.Config) { c.Region = "" }, []string{"region"}},
		{"name of a place", func(c *ses.Config) { c.Region = "Ireland" }, []string{"region"}},
		{"zone", func(c *ses.Config) { c.Region = "eu-west-1a" }, []string{"region"}},
		{"host as region", func(c *ses.Config) { c.Region = "evil.example/eu-west-1" }, []string{"region"}},
		{"sovereign region", func(c *ses.Config) { c.Region = "eusc-de-east-1" }, nil},
		{"no id", func(c *ses.Config) { c.AccessKeyID = config.Secret{} }, []string{"access_key_id"}},
		{"token alone", func(c *ses.Config) { c.AccessKeyID, c.SecretAccessKey = config.Secret{}, config.Secret{} }, []string{"access_key_id"}},
		{"no secret", func(c *ses.Config) { c.SecretAccessKey = config.Secret{} }, []string{"secret_access_key"}},
		{"no token", func(c *ses.Config) { c.AccessKeyID, c.SessionToken = secret("ASIAEXAMPLE"), config.Secret{} }, []string{"session_token"}},
		{"line break", func(c *ses.Config) { c.SecretAccessKey = secret("hidden-secret\n") }, []string{"secret_access_key"}},
		{"not ASCII", func(c *ses.Config) { c.AccessKeyID, c.SessionToken = secret("hidden-ü"), secret("hidden x") }, []string{"access_key_id", "session_token"}},
		{"set", func(c *ses.Config) { c.ConfigurationSet = "main_1-A" }, nil},
		{"no name", func(c *ses.Config) { c.ConfigurationSet = "my set" }, []string{"configuration_set"}},
		{"long name", func(c *ses.Config) { c.ConfigurationSet = strings.Repeat("a", 65) }, []string{"configuration_set"}},
		{"topics", func(c *ses.Config) {
			c.SNSTopicARNs = []string{
				"arn:aws:sns:eu-west-1:111122223333:Mail_1-x", "arn:aws-cn:sns:cn-north-1:111122223333:m", "arn:aws-us-gov:sns:us-gov-west-1:111122223333:m",
				"arn:aws-eusc:sns:eusc-de-east-1:111122223333:m",
			}
		}, nil},
		{"no topics", func(c *ses.Config) {
			c.SNSTopicARNs = []string{
				"", "arn:aws:sns:eu-west-1:111122223333:m", "arn:aws:sns:eu-west-1:111122223333:m.fifo", "arn:aws:sns:eu-west-1:111122223333:m\n",
				"arn:aws:sns:evil.test/eu-west-1:111122223333:m", "arn:aws:sns:eu-west-1:1111:m", "arn:aws:sns:eu-west-1:111122223333:*",
			}
		}, []string{
			"sns_topic_arns[0]", "sns_topic_arns[2]", "sns_topic_arns[3]", "sns_topic_arns[4]", "sns_topic_arns[5]", "sns_topic_arns[6]",
		}},
		{"timeout", func(c *ses.Config) { c.Timeout = 0 }, []string{"timeout"}},
	} {
		configuration := newConfig()
		c.change(&configuration)
		var got []string
		configuration.Validate(func(key, problem string) {
			got = append(got, key)
			if strings.Contains(problem, "hidden") {
				t.Errorf("%s: the problem repeats a secret: %s", c.name, problem)
			}
			if problem == "" {
				t.Errorf("%s: the problem of %s is not said", c.name, key)
			}
		})
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: the problems are of %q, want %q", c.name, got, c.want)
		}
	}
}

// A Secret decodes from "env:…" and "file:…"; the keys are those of the contract.
func TestConfigKeys(t *testing.T) {
	document, err := config.Read("config.toml", []byte("name = \"mail\"\nregion = \"eu-west-1\"\naccess_key_id = \"env:ID\"\n"+
		"secret_access_key = \"env:SECRET\"\nsession_token = \"literal\"\nconfiguration_set = \"main\"\nsns_topic_arns = [\"a\", \"b\"]\nbase_url = \"http://127.0.0.1\"\ntimeout = \"5s\"\n"),
		config.Options{Env: func(name string) (string, bool) { return "of " + name, true }})
	if err != nil {
		t.Fatal(err)
	}
	c := ses.DefaultConfig()
	document.Root().Decode(&c)
	if err := document.Err(); err != nil {
		t.Fatal(err)
	}
	got := []string{c.Name, c.Type, c.Region, c.AccessKeyID.Reveal(), c.SecretAccessKey.Reveal(), c.SessionToken.Reveal(), c.ConfigurationSet}
	got = append(got, c.SNSTopicARNs...)
	if want := []string{"mail", "ses", "eu-west-1", "of ID", "of SECRET", "literal", "main", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("the configuration is %q, want %q", got, want)
	}
}
