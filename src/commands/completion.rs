//! Completion in a shell: scripts that ask this tool at each TAB, and its answers. Candidates come from the definition of the
//! command line, the kubeconfig and the cluster. An answer takes half a second at most, and is empty after any error.

use crate::cli;
use crate::cli::global::GlobalArgs;
use crate::cluster::connection::Connection;
use crate::cluster::names::{self, Entries};
use crate::domain::findings::Code;
use crate::domain::reason::Reason;
use crate::settings::Settings;
use clap::{Command, FromArgMatches};
use clap_complete::engine::{self, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::{CompleteEnv, EnvCompleter, Shells};
use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// The variable that holds the name of the shell, where a script asks.
const VARIABLE: &str = "SECURE_TRAFFIC_COMPLETE";

/// The executables that kubectl and oc run to complete the arguments of their plugin.
const PLUGIN_COMPLETERS: [&str; 2] = ["kubectl_complete-secure_traffic", "oc_complete-secure_traffic"];

/// Time for an answer, from the start of the process, if the environment sets none. The rest of half a second is for the shell.
const LIMIT: Duration = Duration::from_millis(400);

/// For bash 3.2 or newer. bash passes the line up to the cursor, since it splits words at `:` and `=`, and the part of the
/// last word that it replaces.
const BASH: &str = r#"_secure_traffic() {
    local IFS=$'\n'
    COMPREPLY=($(SECURE_TRAFFIC_COMPLETE=bash "$1" -- "${COMP_LINE:0:COMP_POINT}" "$2" 2>/dev/null))
    case "${COMPREPLY[0]-}" in
        *[=/]) compopt -o nospace 2>/dev/null ;;
    esac
}
complete -o nosort -F _secure_traffic secure-traffic 2>/dev/null || complete -F _secure_traffic secure-traffic
"#;

/// For a folder of `fpath`, or to be sourced.
const ZSH: &str = r#"#compdef secure-traffic
_secure-traffic() {
    local line
    local -a whole begun
    for line in "${(@f)$(SECURE_TRAFFIC_COMPLETE=zsh "${(Q)words[1]}" -- "${(@Q)words[1,CURRENT]}" 2>/dev/null)}"; do
        case "${line%%:*}" in
            '') ;;
            *[=/]) begun+=("$line") ;;
            *) whole+=("$line") ;;
        esac
    done
    (( $#whole )) && _describe -V 'value' whole
    (( $#begun )) && _describe -V 'value' begun -S ''
}
if [ "$funcstack[1]" = "_secure-traffic" ]; then
    _secure-traffic "$@"
else
    compdef _secure-traffic secure-traffic
fi
"#;

const FISH: &str = r#"complete --keep-order --exclusive --command secure-traffic --arguments "(SECURE_TRAFFIC_COMPLETE=fish secure-traffic -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token) 2>/dev/null)"
"#;

/// A shell whose script asks this tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Bash,
    Zsh,
    Fish,
}

impl Asking {
    const ALL: [Self; 3] = [Self::Bash, Self::Zsh, Self::Fish];

    const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
        }
    }

    const fn script(self) -> &'static str {
        match self {
            Self::Bash => BASH,
            Self::Zsh => ZSH,
            Self::Fish => FISH,
        }
    }
}

/// The script for a shell; `None` for shells whose script contains the candidates.
pub fn script(shell: clap_complete::Shell) -> Option<&'static str> {
    Asking::ALL.into_iter().find(|asking| asking.name() == shell.to_string()).map(Asking::script)
}

/// Answers a shell's script; `false` if none asks.
pub fn answer_shell(arguments: &[OsString], resolve: fn(&GlobalArgs) -> Settings, limit: Option<Duration>) -> bool {
    let source = Source::new(resolve, limit);
    let shells = Asking::ALL.map(|shell| Adapter { shell, source: Arc::clone(&source) });
    let shells: [&dyn EnvCompleter; 3] = shells.each_ref().map(|adapter| adapter as &dyn EnvCompleter);
    let completion = CompleteEnv::with_factory(|| with_completers(cli::command(None), &source));
    let answered = completion.var(VARIABLE).shells(Shells(&shells)).try_complete(arguments.iter().cloned(), None);
    // A shell shows nothing where there is nothing to show.
    answered.unwrap_or(true)
}

/// The answer for kubectl, if it runs this tool to complete the arguments of its plugin: a line for each candidate and, as
/// cobra's programs end it, one with the directive for the shell.
pub fn answer_kubectl(
    arguments: &[OsString],
    resolve: fn(&GlobalArgs) -> Settings,
    limit: Option<Duration>,
) -> Option<String> {
    let (name, rest) = arguments.split_first()?;
    let name = Path::new(name).file_stem()?.to_str()?;
    if !PLUGIN_COMPLETERS.contains(&name) {
        return None;
    }
    let mut words: Vec<OsString> = std::iter::once("secure-traffic".into()).chain(rest.iter().cloned()).collect();
    if rest.is_empty() {
        words.push(OsString::new());
    }
    let source = Source::new(resolve, limit);
    let mut command = with_completers(cli::command(None), &source);
    let found = candidates(&mut command, &words, &source);
    let is_begun = found.first().is_some_and(|(value, _)| value.ends_with(['=', '/']));
    let mut text: String = found.into_iter().map(|(value, help)| tabbed(&value, help.as_deref())).collect();
    // ShellCompDirectiveNoFileComp, and NoSpace.
    text.push_str(if is_begun { ":6\n" } else { ":4\n" });
    Some(text)
}

/// Answers the script of one shell.
struct Adapter {
    shell: Asking,
    source: Arc<Source>,
}

impl EnvCompleter for Adapter {
    fn name(&self) -> &'static str {
        self.shell.name()
    }

    fn is(&self, name: &str) -> bool {
        name == self.name()
    }

    fn write_registration(&self, _: &str, _: &str, _: &str, _: &str, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.shell.script().as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut Command,
        arguments: Vec<OsString>,
        _: Option<&Path>,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let (words, typed) = match (self.shell, arguments.as_slice()) {
            (Asking::Bash, [line, replaced]) => {
                let words = words(&line.to_string_lossy());
                let last = words.last().cloned().unwrap_or_default();
                let typed = last.strip_suffix(&*replaced.to_string_lossy()).map_or(0, str::len);
                (words.into_iter().map(OsString::from).collect(), typed)
            }
            (Asking::Bash, _) => return Ok(()),
            _ => (arguments, 0),
        };
        for (value, help) in candidates(command, &words, &self.source) {
            let line = match self.shell {
                Asking::Bash => format!("{}\n", quoted(value.get(typed..).unwrap_or_default())),
                Asking::Fish => tabbed(&value, help.as_deref()),
                Asking::Zsh => {
                    let escape = |text: &str| text.replace('\\', "\\\\");
                    let help = help.map(|help| format!(":{}", escape(&help))).unwrap_or_default();
                    format!("{}{help}\n", escape(&value).replace(':', "\\:"))
                }
            };
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

fn tabbed(value: &str, help: Option<&str>) -> String {
    help.map_or_else(|| format!("{value}\n"), |help| format!("{value}\t{help}\n"))
}

/// The words of a line of bash, without their quotes; the last one is empty after a blank.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote, mut characters) = (vec![String::new()], None, line.chars());
    while let Some(character) = characters.next() {
        let Some(word) = words.last_mut() else { break };
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None | Some('"'), '\\') => word.extend(characters.next()),
            (None, ' ' | '\t') if word.is_empty() => {}
            (None, ' ' | '\t') => words.push(String::new()),
            _ => word.push(character),
        }
    }
    words
}

/// A candidate for bash, which puts it into the line as it is.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "._:@/+=,~%-".contains(c);
    value.chars().flat_map(|c| (!is_plain(c)).then_some('\\').into_iter().chain([c])).collect()
}

/// The candidates for the last word, each with the first line of its help.
fn candidates(command: &mut Command, words: &[OsString], source: &Source) -> Vec<(String, Option<String>)> {
    let Some((current, before)) = words.split_last() else { return Vec::new() };
    source.read(before);
    let is_empty = current.is_empty();
    let index = before.len();
    // An option whose value needs `=` takes no value from the next word, as the engine believes.
    let words = before.iter().map(|word| if needs_equals(command, word) { "--quiet".into() } else { word.clone() });
    let words = words.chain([current.clone()]).collect();
    let found = engine::complete(command, words, index, Some(Path::new("."))).unwrap_or_default();
    let found = found.into_iter().filter_map(|candidate| {
        let value = candidate.get_value().to_str().filter(|value| !value.contains(char::is_control))?.to_owned();
        let help = candidate.get_help().map(ToString::to_string);
        Some((value, help.and_then(|help| help.lines().next().map(str::to_owned)).filter(|help| !help.is_empty())))
    });
    let (options, values): (Vec<_>, Vec<_>) = found.partition(|(value, _)| value.starts_with('-'));
    // Before a first letter, options are offered only where nothing else is.
    if is_empty && !values.is_empty() { values } else { [values, options].concat() }
}

fn needs_equals(command: &Command, word: &OsStr) -> bool {
    let Some(long) = word.to_str().and_then(|word| word.strip_prefix("--")) else { return false };
    let commands = std::iter::once(command).chain(command.get_subcommands());
    commands.flat_map(Command::get_arguments).any(|arg| arg.get_long() == Some(long) && arg.is_require_equals_set())
}

/// What completers know of the line, and of the time that is left.
struct Source {
    resolve: fn(&GlobalArgs) -> Settings,
    started: Instant,
    limit: Duration,
    connection: OnceLock<Connection>,
}

impl Source {
    fn new(resolve: fn(&GlobalArgs) -> Settings, limit: Option<Duration>) -> Arc<Self> {
        let limit = limit.unwrap_or(LIMIT);
        Arc::new(Self { resolve, started: Instant::now(), limit, connection: OnceLock::new() })
    }

    /// Takes the cluster and the namespace from the words before the current one, which may be incomplete.
    fn read(&self, words: &[OsString]) {
        let parsed = cli::command(None).ignore_errors(true).try_get_matches_from(words);
        let Ok(matches) = parsed else { return };
        let innermost = matches.subcommand().map_or(&matches, |(_, matches)| matches);
        let Ok(global) = GlobalArgs::from_arg_matches(innermost) else { return };
        let settings = (self.resolve)(&global);
        if settings.sandbox.is_none() {
            let _ = self.connection.set(settings.connection);
        }
    }

    /// Runs a query within the time that is left.
    fn ask<T, F: Future<Output = Option<T>>>(&self, query: impl FnOnce(Connection) -> F) -> Option<T> {
        let connection = self.connection.get()?.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let left = self.limit.saturating_sub(self.started.elapsed());
        let found = runtime.block_on(async { tokio::time::timeout(left, query(connection)).await.ok().flatten() });
        // The resolver of names may still work.
        runtime.shutdown_background();
        found
    }

    fn entries(&self, list: Entries) -> Vec<String> {
        let query = |connection| async move { Some(names::entries(&connection, list).await) };
        self.ask(query).unwrap_or_default()
    }

    fn namespaces(&self) -> Vec<String> {
        self.ask(|connection| async move { names::namespaces(&connection).await }).unwrap_or_default()
    }

    fn services(&self) -> Vec<(String, Vec<u16>)> {
        self.ask(|connection| async move { names::services(&connection).await }).unwrap_or_default()
    }

    fn runs(&self) -> Vec<String> {
        self.ask(|connection| async move { names::runs(&connection).await }).unwrap_or_default()
    }

    /// Names of Services. Once one name is left, or typed, also that name with each of its ports.
    fn targets(&self, current: &str) -> Vec<String> {
        let services = self.services();
        let (name, has_port) = current.split_once(':').map_or((current, false), |(name, _)| (name, true));
        let matching: Vec<_> = services.iter().filter(|(known, _)| known.starts_with(name)).collect();
        let mut targets: Vec<String> = matching.iter().map(|(known, _)| known.clone()).collect();
        for (known, ports) in &matching {
            if known == name || !has_port && matching.len() == 1 {
                targets.extend(ports.iter().map(|port| format!("{known}:{port}")));
            }
        }
        targets
    }
}

/// The command line with the completers of its values.
fn with_completers(command: Command, source: &Arc<Source>) -> Command {
    let name = command.get_name().to_owned();
    command
        .mut_args(|arg| match completer(&name, arg.get_id().as_str(), source) {
            Some(completer) => arg.add(completer),
            None => arg,
        })
        .mut_subcommands(|sub| with_completers(sub, source))
}

fn completer(command: &str, argument: &str, source: &Arc<Source>) -> Option<ArgValueCompleter> {
    let codes = |_: &str| Code::all().map(|code| code.as_str().to_owned()).collect();
    let explained = |_: &str| {
        let names = Code::all().map(Code::as_str).chain(Reason::all().map(Reason::as_str));
        names.map(str::to_owned).collect()
    };
    let source = Arc::clone(source);
    Some(match (command, argument) {
        (_, "namespace" | "istio_namespace" | "ztunnel_namespace" | "from_namespace") => {
            of_names(move |_| source.namespaces())
        }
        (_, "context") => of_names(move |_| source.entries(Entries::Contexts)),
        (_, "cluster") => of_names(move |_| source.entries(Entries::Clusters)),
        (_, "user") => of_names(move |_| source.entries(Entries::Users)),
        (_, "services" | "more_services") => {
            of_names(move |_| source.services().into_iter().map(|(name, _)| name).collect())
        }
        (_, "targets" | "target" | "exclude" | "except") => of_names(move |current| source.targets(current)),
        (_, "ignore") => of_names(codes),
        ("explain", "name") => of_names(explained),
        (_, "restore") => of_names(move |_| source.runs()),
        (_, "reports") => ArgValueCompleter::new(reports),
        _ => return None,
    })
}

/// The names that begin with what was typed, in order, each once. A name that a shell could read as anything but one word is
/// left out.
fn of_names(names: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let Some(current) = current.to_str() else { return Vec::new() };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:@/+=,-".contains(c);
        let mut found = names(current);
        found.retain(|name| name.starts_with(current) && !name.starts_with('-') && name.chars().all(is_plain));
        found.sort();
        found.dedup();
        found.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Formats of reports, and files after `FORMAT=`.
fn reports(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    if let Some((format, file)) = current.split_once('=') {
        let files = PathCompleter::any().stdio().current_dir(".").complete(OsStr::new(file));
        let is_possible = |file: &CompletionCandidate| file.get_value() != "-" || format == "tap";
        return files.into_iter().filter(is_possible).map(|file| file.add_prefix(format!("{format}="))).collect();
    }
    let formats = ["github", "json=", "junit=", "tap="].into_iter().filter(|format| format.starts_with(current));
    formats.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_bash_is_split_into_words() {
        for (line, expected) in [
            ("secure-traffic ", vec!["secure-traffic", ""]),
            ("secure-traffic  probe boards:80", vec!["secure-traffic", "probe", "boards:80"]),
            ("st probe --report=jun", vec!["st", "probe", "--report=jun"]),
            ("st 'a b' \"c \\\" d\" e\\ f", vec!["st", "a b", "c \" d", "e f"]),
            ("st 'open", vec!["st", "open"]),
        ] {
            assert_eq!(words(line), expected, "{line:?}");
        }
    }

    #[test]
    fn bash_gets_special_characters_quoted() {
        assert_eq!(quoted("a b$(c)'"), r"a\ b\$\(c\)\'");
        assert_eq!(quoted("kind@x:80/y=z"), "kind@x:80/y=z");
    }
}
