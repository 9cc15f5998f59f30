# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_secure_traffic_global_optspecs
    string join \n n/namespace= kubeconfig= context= cluster= user= s/server= token= certificate-authority= insecure-skip-tls-verify tls-server-name= as= as-group= as-uid= request-timeout= timeout= i/istio-namespace= ztunnel-namespace= revision= cluster-domain= sandbox= color= q/quiet v/verbose h/help V/version
end

function __fish_secure_traffic_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_secure_traffic_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_secure_traffic_using_subcommand
    set -l cmd (__fish_secure_traffic_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "enable-mtls" -d 'Turn strict mutual TLS on, wait until it is in force, and prove that plaintext is rejected'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "disable-mtls" -d 'Turn it off again (PERMISSIVE), and prove that plaintext is accepted'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "probe" -d 'Ask with a throwaway pod outside the mesh whether plaintext gets in'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "status" -d 'Report the mode of every port, the object that decides it, and who breaks; change nothing'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "rehearse" -d 'Name the callers that STRICT would refuse, from the sidecars\' access logs'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "demo" -d 'Tell the walk-through as a story: probe, enable, probe, disable, probe'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "sandbox" -d 'Serve the embedded sandbox cluster on loopback, with a kubeconfig'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "cleanup" -d 'Remove probe pods that an earlier run could not remove'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "history" -d 'List the runs that can still be undone, and the commands that undo them'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "rbac" -d 'Print the least Roles that a command needs, for the ServiceAccount of a CI job'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "completions" -d 'Print the completion script of a shell'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "explain" -d 'Explain a finding, or the reason of an inconclusive verdict, and what to do'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "version" -d 'Print the versions of this tool, Kubernetes and Istio'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "options" -d 'Print the options of every command'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "man" -d 'Print the manual page, or write one page a command into a directory'
complete -c secure-traffic -n "__fish_secure_traffic_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l service -d 'Services by name, for --dry-run=client; the same as naming them as arguments' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l dry-run -d 'client: render; server: validate' -r -f -a "client\t'Render only; no cluster is contacted'
server\t'Let the API server validate every object; nothing is written'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s o -l output -d 'json, yaml, name or wide' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'Names only'
wide\t'More columns'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l verify -d 'Wait until the change is in force and prove it with a probe; =false only applies' -r -f -a "true\t''
false\t''"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l wait-timeout -d 'Time for the policy to come into force everywhere' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l settle -d 'Time for changed rules to reach the clients' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l mesh-client-interval -d 'Time between two calls of the client in the mesh to a Service, during the change' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l ignore -d 'Leave out findings with this code' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l prometheus -d 'Prometheus to ask who sent plaintext' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l since -d 'How far back to ask it' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l rehearsal -d 'JSON document of a rehearsal (rehearse -o json), whose callers become findings' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l check-url -d 'URL to request during the change' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l rollback-on-failure -d 'Undo what this run has changed where it does not end as it should, or is interrupted; by default only where calls in the mesh got through before and no longer do, and then only on the way in' -r -f -a "true\t''
false\t''"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s f -l filename -d 'Apply these manifests instead' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l policy -d 'The namespace-wide policy to change, where there are several' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l destination-rules -d 'When to write DestinationRules; default: for every Service, but not where all its pods are in ambient mode and no sidecar or waypoint would read them' -r -f -a "always\t'One for every Service, as the walk-through does'
auto\t'Only where they are needed: auto mTLS off, or the legacy API'
never\t'None'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l scope -d 'One rule for each Service, or one for the namespace' -r -f -a "service\t'One rule a Service'
namespace\t'One wildcard rule for the namespace'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l policy-api -d 'Version of the policy kind, for --dry-run=client with Services named' -r -f -a "v1\t'`security.istio.io/v1` PeerAuthentication'
v1beta1\t'`security.istio.io/v1beta1` PeerAuthentication'
v1alpha1\t'`authentication.istio.io/v1alpha1` Policy (Istio 1.0 to 1.5, OpenShift Service Mesh 1.x)'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l destination-rule-api -d 'Version of DestinationRule, for --dry-run=client with Services named' -r -f -a "v1\t'`networking.istio.io/v1`'
v1beta1\t'`networking.istio.io/v1beta1`'
v1alpha3\t'`networking.istio.io/v1alpha3`'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l image -d 'Image with curl in it' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l image-pull-secret -d 'Secret with the credentials for the image; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l toleration -d 'Taint of nodes on which the pods may run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l node-selector -d 'Label of the nodes on which the pods run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l pod-label -d 'Label of the pods, for example for a NetworkPolicy; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l pod-annotation -d 'Annotation of the pods; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l priority-class -d 'Priority class of the pods' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l attempts -d 'Plaintext samples for each endpoint, each on a fresh connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l connect-timeout -d 'Time for one TCP connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l max-time -d 'Time for one request' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l evidence -d 'What proves that it was the mesh which refused' -r -f -a "auto\t'The certificate shown, and the endpoint\'s own proxy where you may port-forward to it'
network\t'The certificate shown and the policy only'
proxy\t'What the endpoint\'s own proxy has loaded only'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l pod-timeout -d 'Time for the probe pod to start' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l report -d 'Also junit, tap, json or github' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l expect -d 'What the proof must show' -r -f -a "policy\t'Each port does what its own policy says; exceptions are named'
rejected\t'Every port rejects plaintext, without exception'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l workload -d 'Only pods with these labels' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l except -d 'Leave this Service or port open' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l rehearse -d 'Observe for so long first' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s y -l yes -d 'Change without asking'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l diff -d 'Show the changes as a diff; write nothing'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l observe -d 'Prove what another writer applies'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l wait-drain -d 'Also wait until connections opened before the change are closed (the pods\' drain times; Istio\'s default: 45 s)'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l force -d 'Continue despite failed checks'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l force-conflicts -d 'Take over fields of other field managers'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l no-journal -d 'Do not save the previous state and do not lock the namespace: --restore cannot undo this run'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s R -l recursive -d 'Read directories given with -f recursively'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand enable-mtls" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l service -d 'Services by name, for --dry-run=client; the same as naming them as arguments' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l dry-run -d 'client: render; server: validate' -r -f -a "client\t'Render only; no cluster is contacted'
server\t'Let the API server validate every object; nothing is written'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s o -l output -d 'json, yaml, name or wide' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'Names only'
wide\t'More columns'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l verify -d 'Wait until the change is in force and prove it with a probe; =false only applies' -r -f -a "true\t''
false\t''"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l wait-timeout -d 'Time for the policy to come into force everywhere' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l settle -d 'Time for changed rules to reach the clients' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l mesh-client-interval -d 'Time between two calls of the client in the mesh to a Service, during the change' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l ignore -d 'Leave out findings with this code' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l prometheus -d 'Prometheus to ask who sent plaintext' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l since -d 'How far back to ask it' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l rehearsal -d 'JSON document of a rehearsal (rehearse -o json), whose callers become findings' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l check-url -d 'URL to request during the change' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l rollback-on-failure -d 'Undo what this run has changed where it does not end as it should, or is interrupted; by default only where calls in the mesh got through before and no longer do, and then only on the way in' -r -f -a "true\t''
false\t''"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s f -l filename -d 'Apply these manifests instead' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l policy -d 'The namespace-wide policy to change, where there are several' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l destination-rules -d 'When to write DestinationRules; default: for every Service, but not where all its pods are in ambient mode and no sidecar or waypoint would read them' -r -f -a "always\t'One for every Service, as the walk-through does'
auto\t'Only where they are needed: auto mTLS off, or the legacy API'
never\t'None'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l scope -d 'One rule for each Service, or one for the namespace' -r -f -a "service\t'One rule a Service'
namespace\t'One wildcard rule for the namespace'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l policy-api -d 'Version of the policy kind, for --dry-run=client with Services named' -r -f -a "v1\t'`security.istio.io/v1` PeerAuthentication'
v1beta1\t'`security.istio.io/v1beta1` PeerAuthentication'
v1alpha1\t'`authentication.istio.io/v1alpha1` Policy (Istio 1.0 to 1.5, OpenShift Service Mesh 1.x)'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l destination-rule-api -d 'Version of DestinationRule, for --dry-run=client with Services named' -r -f -a "v1\t'`networking.istio.io/v1`'
v1beta1\t'`networking.istio.io/v1beta1`'
v1alpha3\t'`networking.istio.io/v1alpha3`'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l image -d 'Image with curl in it' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l image-pull-secret -d 'Secret with the credentials for the image; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l toleration -d 'Taint of nodes on which the pods may run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l node-selector -d 'Label of the nodes on which the pods run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l pod-label -d 'Label of the pods, for example for a NetworkPolicy; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l pod-annotation -d 'Annotation of the pods; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l priority-class -d 'Priority class of the pods' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l attempts -d 'Plaintext samples for each endpoint, each on a fresh connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l connect-timeout -d 'Time for one TCP connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l max-time -d 'Time for one request' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l evidence -d 'What proves that it was the mesh which refused' -r -f -a "auto\t'The certificate shown, and the endpoint\'s own proxy where you may port-forward to it'
network\t'The certificate shown and the policy only'
proxy\t'What the endpoint\'s own proxy has loaded only'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l pod-timeout -d 'Time for the probe pod to start' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l report -d 'Also junit, tap, json or github' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l restore -d 'Restore what was there before' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l mode -d 'What "off" means: permissive or disable' -r -f -a "permissive\t'Mutual TLS or plaintext'
disable\t'Plaintext only'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s y -l yes -d 'Change without asking'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l diff -d 'Show the changes as a diff; write nothing'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l observe -d 'Prove what another writer applies'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l wait-drain -d 'Also wait until connections opened before the change are closed (the pods\' drain times; Istio\'s default: 45 s)'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l force -d 'Continue despite failed checks'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l force-conflicts -d 'Take over fields of other field managers'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l no-journal -d 'Do not save the previous state and do not lock the namespace: --restore cannot undo this run'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s R -l recursive -d 'Read directories given with -f recursively'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand disable-mtls" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s l -l selector -d 'Label selector for the Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l exclude -d 'SERVICE or SERVICE:PORT to leave out' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l expect -d 'Expected: rejected, accepted or policy' -r -f -a "rejected\t'Plaintext must be rejected'
accepted\t'Plaintext must be accepted'
policy\t'What the policies ask for, port by port: rejected under STRICT, accepted otherwise'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l until -d 'Wait for it: rejected or accepted' -r -f -a "rejected\t'Plaintext is rejected'
accepted\t'Plaintext is accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l from-namespace -d 'Namespace to ask from; default: that of the targets' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s o -l output -d 'json, yaml, name or wide' -r -f -a "json\t'JSON'
yaml\t'YAML'
name\t'Names only'
wide\t'More columns'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l image -d 'Image with curl in it' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l image-pull-secret -d 'Secret with the credentials for the image; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l toleration -d 'Taint of nodes on which the pods may run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l node-selector -d 'Label of the nodes on which the pods run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l pod-label -d 'Label of the pods, for example for a NetworkPolicy; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l pod-annotation -d 'Annotation of the pods; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l priority-class -d 'Priority class of the pods' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l attempts -d 'Plaintext samples for each endpoint, each on a fresh connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l connect-timeout -d 'Time for one TCP connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l max-time -d 'Time for one request' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l evidence -d 'What proves that it was the mesh which refused' -r -f -a "auto\t'The certificate shown, and the endpoint\'s own proxy where you may port-forward to it'
network\t'The certificate shown and the policy only'
proxy\t'What the endpoint\'s own proxy has loaded only'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l pod-timeout -d 'Time for the probe pod to start' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l report -d 'Also junit, tap, json or github' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l all-ports -d 'Also ask ports that no Service names'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s w -l watch -d 'Stream samples, and report changes'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l control -d 'Also call from a client in the mesh'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l per-endpoint -d 'A row for every endpoint'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l explain -d 'Explain each answer in sentences'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l dry-run -d 'Print the probe pod, do not run it'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand probe" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s o -l output -d 'table, wide, json or yaml' -r -f -a "table\t'One line a port, like lines put together where there are many'
wide\t'Every line, with more columns and every object'
json\t'JSON'
yaml\t'YAML'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l ignore -d 'Leave out findings with this code' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l prometheus -d 'Prometheus to ask who sent plaintext' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l since -d 'How far back to ask it' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l rehearsal -d 'JSON document of a rehearsal (rehearse -o json), whose callers become findings' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s A -l all-namespaces -d 'Every namespace that is part of the mesh'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s w -l watch -d 'Repeat every 2 s, and print changes'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand status" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l for -d 'Time to observe (5s to 24h)' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -s o -l output -d 'json or yaml' -r -f -a "json\t'JSON'
yaml\t'YAML'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l image -d 'Image with curl in it' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l image-pull-secret -d 'Secret with the credentials for the image; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l toleration -d 'Taint of nodes on which the pods may run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l node-selector -d 'Label of the nodes on which the pods run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l pod-label -d 'Label of the pods, for example for a NetworkPolicy; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l pod-annotation -d 'Annotation of the pods; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l priority-class -d 'Priority class of the pods' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l attempts -d 'Plaintext samples for each endpoint, each on a fresh connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l connect-timeout -d 'Time for one TCP connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l max-time -d 'Time for one request' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l evidence -d 'What proves that it was the mesh which refused' -r -f -a "auto\t'The certificate shown, and the endpoint\'s own proxy where you may port-forward to it'
network\t'The certificate shown and the policy only'
proxy\t'What the endpoint\'s own proxy has loaded only'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l pod-timeout -d 'Time for the probe pod to start' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l report -d 'Also junit, tap, json or github' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -s y -l yes -d 'Write the Telemetry object without asking'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l read-only -d 'Write no Telemetry object'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rehearse" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l target -d 'What to ask for; must be a path of a Service of the namespace' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l image -d 'Image with curl in it' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l image-pull-secret -d 'Secret with the credentials for the image; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l toleration -d 'Taint of nodes on which the pods may run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l node-selector -d 'Label of the nodes on which the pods run; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l pod-label -d 'Label of the pods, for example for a NetworkPolicy; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l pod-annotation -d 'Annotation of the pods; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l priority-class -d 'Priority class of the pods' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l attempts -d 'Plaintext samples for each endpoint, each on a fresh connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l connect-timeout -d 'Time for one TCP connection' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l max-time -d 'Time for one request' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l evidence -d 'What proves that it was the mesh which refused' -r -f -a "auto\t'The certificate shown, and the endpoint\'s own proxy where you may port-forward to it'
network\t'The certificate shown and the policy only'
proxy\t'What the endpoint\'s own proxy has loaded only'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l pod-timeout -d 'Time for the probe pod to start' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l report -d 'Also junit, tap, json or github' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l pause -d 'Wait for Enter before each step'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -s y -l yes -d 'Answer yes to the confirmation of each change; needed on a cluster where there is no terminal'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand demo" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l port -d 'Port on 127.0.0.1; 0 takes a free one' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l write-kubeconfig -d 'Where to write the kubeconfig (mode 0600); otherwise it goes into a new temporary file' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l state -d 'The state to start in' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l shell -d 'Start $SHELL with KUBECONFIG set; the sandbox ends with it'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand sandbox" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand cleanup" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -s o -l output -d 'table, json, yaml or name' -r -f -a "table\t'Text'
json\t'JSON'
yaml\t'YAML'
name\t'The identifiers of the runs, for `--restore=RUN`'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand history" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l service-account -d 'Name of the ServiceAccount and of its Roles; default: secure-traffic-probe, -switch, -status, -rehearse, -cleanup or -history' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l from-namespace -d 'Namespace that probes are made in (probe --from-namespace)' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -s o -l output -d 'yaml or json' -r -f -a "yaml\t'With the reason for each right'
json\t'A List'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l port-forward -d 'Allow to ask the proxies (--evidence)'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l control -d 'Allow a client in the mesh (--control)'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l ambient -d 'Allow to read the logs of ztunnels'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l network-policy -d 'Print NetworkPolicies instead of Roles'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l all-callers -d 'Allow to name all callers (rehearse)'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l telemetry -d 'Allow the Telemetry object of a rehearsal'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l observe -d 'For --observe: nothing is written'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l legacy -d 'For a cluster with the legacy Policy API'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand rbac" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand completions" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand explain" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -s o -l output -d 'json or yaml' -r -f -a "json\t'JSON'
yaml\t'YAML'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand version" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand options" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l directory -d 'Directory to write the pages into' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -s n -l namespace -d 'Namespace to work in; default: the context\'s, else "default"' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l kubeconfig -d 'Kubeconfig file; default: KUBECONFIG, else ~/.kube/config, else the pod\'s own account' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l context -d 'Context of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l cluster -d 'Cluster of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l user -d 'User of the kubeconfig' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -s s -l server -d 'Address of the API server' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l token -d 'Bearer token' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l certificate-authority -d 'File with the certificate authority of the API server' -r -F
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l tls-server-name -d 'Name to check the API server\'s certificate against' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l as -d 'User to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l as-group -d 'Group to act as; can be repeated' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l as-uid -d 'UID to act as' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l request-timeout -d 'Time that one request to the API server may take; 0 waits without end' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l timeout -d 'Time that the whole command may take; 0 waits without end [default: 10m, but for what goes on until it is ended]' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -s i -l istio-namespace -d 'Namespace of the control plane; default: found by istiod\'s label, else istio-system' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l ztunnel-namespace -d 'Namespace of ztunnel (ambient mode); default: found by the label app=ztunnel, else that of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l revision -d 'Revision of the control plane' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l cluster-domain -d 'Domain of the cluster\'s Services' -r
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l sandbox -d 'Run against a fresh embedded sandbox instead of a cluster' -r -f -a "permissive\t'Plaintext is accepted'
strict\t'Plaintext is rejected'
legacy\t'A cluster with only the legacy Policy API, plaintext accepted'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l color -d 'When to use colour; NO_COLOR is honoured' -r -f -a "auto\t'On a terminal, unless `NO_COLOR` or `TERM=dumb` say otherwise'
always\t'Always'
never\t'Never'"
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -l insecure-skip-tls-verify -d 'Do not check the API server\'s certificate'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -s q -l quiet -d 'Print results only'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -s v -l verbose -d 'Say more: the requests to the API server'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand man" -s V -l version -d 'Print version'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "enable-mtls" -d 'Turn strict mutual TLS on, wait until it is in force, and prove that plaintext is rejected'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "disable-mtls" -d 'Turn it off again (PERMISSIVE), and prove that plaintext is accepted'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "probe" -d 'Ask with a throwaway pod outside the mesh whether plaintext gets in'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "status" -d 'Report the mode of every port, the object that decides it, and who breaks; change nothing'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "rehearse" -d 'Name the callers that STRICT would refuse, from the sidecars\' access logs'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "demo" -d 'Tell the walk-through as a story: probe, enable, probe, disable, probe'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "sandbox" -d 'Serve the embedded sandbox cluster on loopback, with a kubeconfig'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "cleanup" -d 'Remove probe pods that an earlier run could not remove'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "history" -d 'List the runs that can still be undone, and the commands that undo them'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "rbac" -d 'Print the least Roles that a command needs, for the ServiceAccount of a CI job'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "completions" -d 'Print the completion script of a shell'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "explain" -d 'Explain a finding, or the reason of an inconclusive verdict, and what to do'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "version" -d 'Print the versions of this tool, Kubernetes and Istio'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "options" -d 'Print the options of every command'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "man" -d 'Print the manual page, or write one page a command into a directory'
complete -c secure-traffic -n "__fish_secure_traffic_using_subcommand help; and not __fish_seen_subcommand_from enable-mtls disable-mtls probe status rehearse demo sandbox cleanup history rbac completions explain version options man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
