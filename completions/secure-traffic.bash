_secure_traffic() {
    local IFS=$'\n'
    COMPREPLY=($(SECURE_TRAFFIC_COMPLETE=bash "$1" -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null))
    case "${COMPREPLY[0]-}" in
        *[=/]) compopt -o nospace 2>/dev/null ;;
    esac
}
complete -o nosort -F _secure_traffic secure-traffic 2>/dev/null || complete -F _secure_traffic secure-traffic
