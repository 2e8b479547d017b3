# Who may call what of the SPIRE server's API, where brokers mint execution identities.
#
# A broker (data.seb.brokers) may mint SVIDs of single mutations, for seconds, and nothing else; it may have an
# intermediate CA signed only where data.seb.downstream says so. Nobody else, whether admin or on the server's own machine,
# may mint or register anything below the path of execution identities. All other calls are as SPIRE's own default policy
# has them: data.apis is its table, of SPIRE 1.15.
#
# The server asks for `result`. What is undefined is false.

package spire

result = {
	"allow": allow,
	"allow_if_admin": allow_if_admin,
	"allow_if_local": allow_if_local,
	"allow_if_downstream": allow_if_downstream,
	"allow_if_agent": allow_if_agent,
}

default allow = false

default allow_if_admin = false

default allow_if_local = false

default allow_if_downstream = false

default allow_if_agent = false

mint_x509 := "/spire.api.server.svid.v1.SVID/MintX509SVID"

mint_jwt := "/spire.api.server.svid.v1.SVID/MintJWTSVID"

downstream_ca := "/spire.api.server.svid.v1.SVID/NewDownstreamX509CA"

# The default policy, for everybody but brokers.

allow if {
	some api in data.apis
	api.full_method == input.full_method
	api.allow_any
}

allow_if_admin if {
	some api in data.apis
	api.full_method == input.full_method
	api.allow_admin
	not is_broker
	not reserved
}

allow_if_local if {
	some api in data.apis
	api.full_method == input.full_method
	api.allow_local
	not reserved
}

allow_if_downstream if {
	some api in data.apis
	api.full_method == input.full_method
	api.allow_downstream
	not is_broker
}

allow_if_agent if {
	some api in data.apis
	api.full_method == input.full_method
	api.allow_agent
	not is_broker
}

# Brokers.

is_broker if {
	some broker in data.seb.brokers
	input.caller == broker
}

allow_if_admin if {
	is_broker
	input.full_method == mint_x509
	seconds(input.req.ttl)
	csr := crypto.x509.parse_certificate_request(input.req.csr)
	count(csr.URIs) == 1
	csr.URIs[0].Scheme == "spiffe"
	is_execution(csr.URIs[0].Path)
	csr.Subject.CommonName == trim_prefix(csr.URIs[0].Path, "/seb/execution/")
	none(csr.DNSNames)
	none(csr.EmailAddresses)
	none(csr.IPAddresses)
}

allow_if_admin if {
	is_broker
	input.full_method == mint_jwt
	seconds(input.req.ttl)
	is_execution(input.req.id.path)
	count(input.req.audience) >= 1
	count(input.req.audience) <= 4
}

allow_if_downstream if {
	is_broker
	data.seb.downstream
	input.full_method == downstream_ca
	input.req.preferred_ttl >= 1
	input.req.preferred_ttl <= data.seb.max_ca_ttl_seconds
}

# A life that is left out would be the server's default: hours.
seconds(ttl) if {
	ttl >= 1
	ttl <= data.seb.max_ttl_seconds
}

is_execution(path) if regex.match(`^/seb/execution/m-[a-z2-7]{52}$`, path)

none(list) if is_null(list)

none(list) if count(list) == 0

# What would make an execution identity of something else.

below(path) if startswith(path, "/seb/execution/")

below(path) if path == "/seb/execution"

reserved if {
	input.full_method == mint_x509
	csr := crypto.x509.parse_certificate_request(input.req.csr)
	some uri in csr.URIs
	below(uri.Path)
}

reserved if {
	input.full_method in {mint_jwt, "/spire.api.server.svid.v1.SVID/MintWITSVID"}
	below(input.req.id.path)
}

reserved if {
	input.full_method in {
		"/spire.api.server.entry.v1.Entry/BatchCreateEntry",
		"/spire.api.server.entry.v1.Entry/BatchUpdateEntry",
	}
	some entry in input.req.entries
	below(entry.spiffe_id.path)
}
