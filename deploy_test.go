package smtpbridge_test

import (
	"encoding/json"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"smtpbridge/internal/app"
)

// What the image promises: nothing but the binary, nobody's rights, no shell.
func TestDockerfile(t *testing.T) {
	stages := instructions(t)
	build, final := stages[0], lastStage(t)
	if !slices.ContainsFunc(build, func(i instruction) bool {
		return i.name == "RUN" && strings.Contains(i.rest, "CGO_ENABLED=0 go build -trimpath")
	}) {
		t.Error("Dockerfile: the builder makes no static binary")
	}
	for name, want := range map[string]string{
		"FROM":        `^scratch$`,
		"USER":        `^[1-9]\d*:[1-9]\d*$`, // a name would need /etc/passwd, and runAsNonRoot a number
		"HEALTHCHECK": `CMD \["/bridge", "health"\]$`,
		"ENTRYPOINT":  `^\["/bridge"\]$`,
		"CMD":         `^\["serve"\]$`,
		"VOLUME":      `^/data$`,
		"ENV":         `^GOMEMLIMIT=44MiB$`,
	} {
		if got := only(t, final, name); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("Dockerfile: %s %s, want %s", name, got, want)
		}
	}
	for _, i := range final {
		if i.name == "RUN" || i.name == "SHELL" {
			t.Errorf("Dockerfile: %s %s in the image: it has no shell", i.name, i.rest)
		}
	}
}

// instruction is one of a Dockerfile, its lines joined.
type instruction struct{ name, rest string }

// instructions are those of the Dockerfile, by stage.
func instructions(t *testing.T) [][]instruction {
	t.Helper()
	text := strings.ReplaceAll(read(t, "Dockerfile"), "\\\n", " ")
	var stages [][]instruction
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if name == "FROM" {
			stages = append(stages, nil)
		}
		if len(stages) == 0 {
			t.Fatalf("Dockerfile: %s stands before the first FROM", name)
		}
		stages[len(stages)-1] = append(stages[len(stages)-1], instruction{name, strings.TrimSpace(rest)})
	}
	return stages
}

// lastStage is the image; what stands before it builds.
func lastStage(t *testing.T) []instruction {
	t.Helper()
	stages := instructions(t)
	if len(stages) != 2 {
		t.Fatalf("Dockerfile has %d stages, want a builder and the image", len(stages))
	}
	return stages[1]
}

// only gives the one instruction of a name, without its stage.
func only(t *testing.T, stage []instruction, name string) string {
	t.Helper()
	var found []string
	for _, i := range stage {
		if i.name == name {
			found = append(found, i.rest)
		}
	}
	if len(found) != 1 {
		t.Fatalf("Dockerfile: %d times %s in the image, want one", len(found), name)
	}
	return found[0]
}

// What the pod promises, by path in the manifest.
func TestKubernetesDeployment(t *testing.T) {
	deployment := manifest(t, "deployment.yaml")
	const sidecar = "spec/template/spec/initContainers/0/"
	for where, want := range map[string]string{
		// A native sidecar, which the application waits for and which outlives it.
		sidecar + "name":          "smtp-bridge",
		sidecar + "restartPolicy": "Always",
		sidecar + "startupProbe":  `{"exec":{"command":["/bridge","health"]},"failureThreshold":60,"periodSeconds":1,"timeoutSeconds":5}`,
		// Alive, not ready: a provider that is down takes nobody out of service.
		sidecar + "livenessProbe/exec":  `{"command":["/bridge","health"]}`,
		sidecar + "readinessProbe":      "null",
		sidecar + "resources/limits":    `{"cpu":"100m","memory":"64Mi"}`,
		sidecar + "env/1":               `{"name":"GOMEMLIMIT","value":"44MiB"}`,
		sidecar + "env/0/name":          "BRIDGE_CONFIG",
		sidecar + "env/0/value":         "/etc/smtp-bridge/config.toml",
		sidecar + "volumeMounts/1":      `{"mountPath":"/etc/smtp-bridge","name":"bridge-config","readOnly":true}`,
		sidecar + "volumeMounts/2":      `{"mountPath":"/run/secrets/bridge","name":"bridge-secrets","readOnly":true}`,
		sidecar + "volumeMounts/0/name": "bridge-data",
		// The strictest of the pod security standards, "restricted".
		sidecar + "securityContext": `{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"readOnlyRootFilesystem":true,` +
			`"runAsGroup":65532,"runAsNonRoot":true,"runAsUser":65532,"seccompProfile":{"type":"RuntimeDefault"}}`,
		// No medium: a disk.
		"spec/template/spec/volumes/0":                `{"emptyDir":{"sizeLimit":"1Gi"},"name":"bridge-data"}`,
		"spec/template/spec/volumes/1/configMap/name": "smtp-bridge",
		"spec/template/spec/volumes/2/secret":         `{"defaultMode":292,"secretName":"smtp-bridge"}`,
	} {
		if got := at(t, deployment, where); got != want {
			t.Errorf("deployment.yaml: %s is %s, want %s", where, got, want)
		}
	}
	if got, want := only(t, lastStage(t), "USER"), at(t, deployment, sidecar+"securityContext/runAsUser"); !strings.HasPrefix(got, want+":") {
		t.Errorf("deployment.yaml: runAsUser is %s, the image's /data belongs to %s", want, got)
	}
}

// The configuration is valid, and fits the pod around it.
func TestKubernetesConfig(t *testing.T) {
	config, secrets := t.TempDir(), t.TempDir()
	text := at(t, manifest(t, "config.yaml"), "data/config.toml")
	text = strings.ReplaceAll(text, "file:/run/secrets/bridge/", "file:"+secrets+"/")
	write(t, path.Join(secrets, "sendgrid-api-key"), "SG.secret")
	write(t, path.Join(config, "config.toml"), text)
	c, err := app.Load(path.Join(config, "config.toml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	deployment := manifest(t, "deployment.yaml")
	if got, want := c.DataDir, at(t, deployment, "spec/template/spec/initContainers/0/volumeMounts/0/mountPath"); got != want {
		t.Errorf("data_dir is %s, mounted is %s", got, want)
	}
	const sizeLimit = 1 << 30 // as above
	if need := int64(c.SMTP.MaxConnections) * int64(c.SMTP.MaxMessageSize); need > sizeLimit || c.SMTP.MaxConnections < 20 {
		t.Errorf("%d mails of %s do not fit into /data", c.SMTP.MaxConnections, c.SMTP.MaxMessageSize)
	}
	grace, err := strconv.Atoi(at(t, deployment, "spec/template/spec/terminationGracePeriodSeconds"))
	if err != nil {
		t.Fatal(err)
	}
	all, drain := time.Duration(grace)*time.Second, c.ShutdownTimeout.Std()*9/10 // what the clients get of it
	if c.ShutdownTimeout.Std() >= all || c.SMTP.DeliveryTimeout.Std() >= drain {
		t.Errorf("delivery_timeout %s, 9/10 of shutdown_timeout %s and grace period %s must rise", c.SMTP.DeliveryTimeout, c.ShutdownTimeout, all)
	}
}

// Bridges that share a database have a configuration that is valid, and each a
// directory of its own.
func TestSharedDeployment(t *testing.T) {
	config, secrets := t.TempDir(), t.TempDir()
	for _, secret := range []struct{ name, value string }{
		{"sendgrid-api-key", "SG.secret"}, {"postgres-password", "hunter2"}, {"forward-secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
	} {
		write(t, path.Join(secrets, secret.name), secret.value)
	}
	text := strings.ReplaceAll(read(t, "deploy/shared/config.toml"), "file:/run/secrets/bridge/", "file:"+secrets+"/")
	write(t, path.Join(config, "config.toml"), text)
	c, err := app.Load(path.Join(config, "config.toml"), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(c.Store.URL, "postgres://") || c.DataDir != "/data" {
		t.Errorf("the store is %s, data_dir %s", c.Store.URL, c.DataDir)
	}
	var compose, deployment any
	if err := yaml.Unmarshal([]byte(read(t, "deploy/shared/compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"1", "2", "3"} {
		if got, want := at(t, compose, "services/bridge-"+n+"/volumes/0"), "data-"+n+":/data"; got != want {
			t.Errorf("compose.yaml: bridge %s has %s, want %s", n, got, want)
		}
	}
	first, _, _ := strings.Cut(read(t, "deploy/shared/kubernetes.yaml"), "\n---\n")
	if err := yaml.Unmarshal([]byte(first), &deployment); err != nil {
		t.Fatal(err)
	}
	single := manifest(t, "deployment.yaml")
	const sidecar = "spec/template/spec/initContainers/0/"
	for _, same := range []string{sidecar + "securityContext", sidecar + "livenessProbe", sidecar + "volumeMounts", "spec/template/spec/volumes"} {
		if got, want := at(t, deployment, same), at(t, single, same); got != want {
			t.Errorf("kubernetes.yaml: %s is %s, alone it is %s", same, got, want)
		}
	}
	if got := at(t, deployment, "spec/replicas"); got != "3" {
		t.Errorf("kubernetes.yaml: %s replicas", got)
	}
}

// manifest is a file of deploy/kubernetes.
func manifest(t *testing.T, name string) any {
	t.Helper()
	var out any
	if err := yaml.Unmarshal([]byte(read(t, path.Join("deploy/kubernetes", name))), &out); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return out
}

// at gives what is at a path of keys and indices: a scalar as text, what has
// parts as JSON, "null" where there is nothing.
func at(t *testing.T, node any, where string) string {
	t.Helper()
	for key := range strings.SplitSeq(where, "/") {
		switch parent := node.(type) {
		case map[string]any:
			node = parent[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(parent) {
				t.Fatalf("%s: there is no %s", where, key)
			}
			node = parent[i]
		default:
			t.Fatalf("%s: there is nothing below %s", where, key)
		}
	}
	if text, isText := node.(string); isText {
		return text
	}
	out, err := json.Marshal(node)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	return string(out)
}
