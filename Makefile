# What a person types here. `make` alone lists it.

MAKEFLAGS += --no-print-directory
CARGO_FLAGS ?= --locked
# Seconds for each fuzz target: of `make test-fuzz`, and of `make fuzz`.
TEST_FUZZ_SECONDS ?= 5
FUZZ_SECONDS ?= 600
# Arguments of the load harness, and of those for Kubernetes and AWS.
LOAD ?=
KUBERNETES ?=
AWS ?=
# Seconds of `make soak`.
SOAK_SECONDS ?= 3600
# Fuzz targets, all of them where none is named: `make fuzz TARGETS=certificate`.
TARGETS ?=

# Tests against other implementations have a stage of their own: tests/crosscheck*.rs.
tests := $(sort $(basename $(notdir $(wildcard tests/*.rs))) $(foreach main,$(wildcard tests/*/main.rs),$(notdir $(main:/main.rs=))))
crosschecks := $(filter crosscheck%,$(tests))
# So have those of the Terraform modules: without their provider, and with it.
terraforms := $(filter terraform%,$(tests))
# Tests on the real servers have one, too: those that mount the testbed.
mounting := $(shell grep -ls 'support/testbed/mod.rs"\]' tests/*.rs tests/*/main.rs)
testbeds := $(filter-out $(terraforms),$(sort $(basename $(notdir $(mounting:/main.rs=)))))
integrations := $(filter-out $(crosschecks) $(testbeds) $(terraforms),$(tests))

# A test called `child_...` is a process that another test starts, and one called `measure_...` only measures.
test_programs := scripts/test-programs 2 $(CARGO_FLAGS)

# Quick ones first.
STAGES := lint unit integration terraform checkov terraform-provider $(if $(crosschecks),crosscheck) testbed fuzz

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Watch the whole idea work, with nothing installed; KEEP=1 leaves it running
	@scripts/demo $(if $(KEEP),--keep)

.PHONY: dev-cluster
dev-cluster: ## A cluster to try, on real SPIRE and Kubernetes servers; prints what to type (needs `make testbed`)
	@scripts/dev-cluster

.PHONY: test
test: ## Run every stage below; ends with one line of totals
	@scripts/test $(STAGES)

.PHONY: test-lint lint
test-lint: ## Format, clippy, docs, dependencies
	@scripts/stage --needs cargo-deny lint "format, clippy, docs, dependencies" scripts/lint

lint: test-lint ## The same as test-lint

.PHONY: test-unit
test-unit: ## Unit tests and the examples of the API docs
	@scripts/stage unit "unit tests and examples of the API docs" \
		sh -c 'cargo test $(CARGO_FLAGS) --quiet --lib --bins && cargo test $(CARGO_FLAGS) --quiet --doc'

.PHONY: test-integration
test-integration: ## tests/*.rs: through the public API and the binaries
	@scripts/stage integration "tests/*.rs, through the public API and the binaries" \
		$(test_programs) $(addprefix --test ,$(integrations)) -- --skip child_ --skip measure_

.PHONY: test-crosscheck
test-crosscheck: ## The vectors and requests to AWS, judged by other implementations (Java, Python)
	@scripts/stage --needs bouncycastle --needs asn1tools --needs awscli crosscheck "judged by other implementations" \
		env SEB_BOUNCYCASTLE="$$(scripts/tools --path bouncycastle)" \
		SEB_ASN1TOOLS="$$(scripts/tools --path asn1tools)" \
		SEB_AWSCLI="$$(scripts/tools --path awscli)" \
		cargo test $(CARGO_FLAGS) --quiet --no-fail-fast $(addprefix --test ,$(crosschecks))

.PHONY: test-testbed
test-testbed: ## On real SPIRE and Kubernetes servers, fresh for each test; skipped where `make testbed` did not run
	@scripts/stage --needs-testbed testbed "on real SPIRE and Kubernetes servers" \
		$(test_programs) $(addprefix --test ,$(testbeds)) -- --skip child_ --skip measure_

.PHONY: test-terraform
test-terraform: ## The Terraform modules: inputs, and policies against attacks (needs Terraform)
	@scripts/stage --needs-command terraform terraform "the Terraform modules: inputs, and policies against attacks" \
		cargo test $(CARGO_FLAGS) --quiet --no-fail-fast --test terraform

.PHONY: test-checkov
test-checkov: ## What a linter says of the Terraform modules; findings are answered in place
	@scripts/stage --needs checkov checkov "what a linter says of the Terraform modules" scripts/checkov

# The provider waits more than it computes: all of its tests at once.
.PHONY: test-terraform-provider
test-terraform-provider: ## The same with the AWS provider, and applied to an emulator; skipped until both are built
	@scripts/stage --needs-command terraform $(if $(SEB_TERRAFORM_MIRROR),,--needs-built terraform-provider-aws) \
		--needs-built fakecloud --reads "terraform tests/terraform_provider tests/support/testbed Cargo.toml Cargo.lock" \
		terraform-provider "the Terraform modules, with the AWS provider, applied to an emulator" \
		cargo test $(CARGO_FLAGS) --quiet --no-fail-fast --test terraform_provider -- --test-threads 4

.PHONY: test-fuzz
test-fuzz: ## Every fuzz target for TEST_FUZZ_SECONDS (5)
	@scripts/stage --needs cargo-fuzz fuzz "every decoder, $(TEST_FUZZ_SECONDS) s of hostile input each" \
		scripts/fuzz $(TEST_FUZZ_SECONDS) $(TARGETS)

.PHONY: fuzz
fuzz: ## Every fuzz target for FUZZ_SECONDS (600); TARGETS="a b" for some
	@scripts/tools cargo-fuzz
	@scripts/fuzz $(FUZZ_SECONDS) $(TARGETS)

.PHONY: soak
soak: ## Kill the broker at random points for SOAK_SECONDS (3600), and check what it did
	env SOAK_SECONDS=$(SOAK_SECONDS) cargo test $(CARGO_FLAGS) --quiet --test crash -- --nocapture

.PHONY: bench
bench: ## Benchmarks, the load harness, Kubernetes, and AWS; ends with all of it as JSON
	@mkdir -p target && touch target/bench.started
	cargo bench $(CARGO_FLAGS) --bench core --bench identity
	cargo bench $(CARGO_FLAGS) --bench load -- --json target/load.json $(LOAD)
	@$(MAKE) bench-kubernetes bench-aws
	@scripts/bench-report target/criterion --since target/bench.started --load target/load.json \
		--load target/kubernetes.json --load target/aws.json

.PHONY: bench-load
bench-load: ## The load harness alone, in about 4 minutes; LOAD="--growth 1000000" and others (docs/performance.md)
	cargo bench $(CARGO_FLAGS) --bench load -- $(LOAD)

.PHONY: bench-kubernetes
bench-kubernetes: ## What a mutation of Kubernetes costs, on the real servers, in about 3 minutes; KUBERNETES="--pairs 1000" and others
	@scripts/testbed
	cargo bench $(CARGO_FLAGS) --bench kubernetes -- --json target/kubernetes.json $(KUBERNETES)

.PHONY: bench-aws
bench-aws: ## What a mutation of AWS costs, on an emulator, in about 3 minutes; AWS="--executions 1000" and others
	@scripts/testbed fakecloud spire
	cargo bench $(CARGO_FLAGS) --bench aws -- --json target/aws.json $(AWS)

.PHONY: advisories
advisories: ## Known vulnerabilities among the dependencies (fetches the RustSec database)
	@scripts/tools cargo-deny
	"$$(scripts/tools --path cargo-deny)/bin/cargo-deny" --locked check advisories

.PHONY: testbed
testbed: ## Build the servers of the testbed, outside the tree (20 minutes)
	@scripts/testbed

.PHONY: tools
tools: ## Install the pinned tools that the tests need, outside the tree
	@scripts/tools
