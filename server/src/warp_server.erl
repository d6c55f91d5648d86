%% @doc Warp's server: the contexts of a VM for programs in any language, by HTTP and WebSocket on port 9090.
%%
%% ```
%% {ok, Server} = warp_server:start_link(#{
%%     contexts => [#{name => <<"bank">>, data_dir => "data", module => bank}],
%%     tokens => [#{id => <<"web">>, sha256 => Sha256OfTheToken, scopes => [#{context => <<"bank">>}]}]}).
%% '''
%%
%% A program of its own, the gateway, has the connections, and this application carries out what comes over them. The
%% gateway is started again when it ends, on the same port.
%%
%% A context is given with a module, a callback module of this behaviour: it says what functions the context has.
-module(warp_server).

-export([start_link/1, child_spec/1, stop/1, configure/2, addresses/1, new_token/0, format_error/1]).

-export_type([options/0, context_options/0, context/0, token/0, scope/0, listener/0, start_error/0]).

%% What the server's functions take for a context of that name: the options of `warp_core:start/1' but for `context' and
%% `data_dir'; and `commands' and `views'.
-callback context(Name :: binary()) -> context().

-type context() :: #{
    aggregates := [warp_core:aggregate()],
    %% By name, what clients may have decided in an entity's process: the aggregate, and a function that gets its state
    %% and the client's input, with binary keys. Default: none.
    commands => #{binary() => {Aggregate :: binary(),
                               fun((State :: term(), Input :: map()) -> warp_core:decision(term()))}},
    %% By aggregate, what clients see of a state that has no form in JSON, such as a tuple. Default: the state itself.
    views => #{binary() => fun((State :: term()) -> term())},
    %% Other options of `warp_core:start/1'.
    atom() => term()
}.
-type context_options() ::
    #{
        name := binary(),
        data_dir := file:filename_all(),
        %% Its callback module. Default: none, and then `options' has the aggregates.
        module => module(),
        %% Further options of `warp_core:start/1', which count before those of the module.
        options => map()
    }
    %% One that `warp_core:start_link/1' starts elsewhere in this VM, with the module for its commands and views.
    | {running, Name :: binary()}
    | {running, Name :: binary(), module()}.
-type listener() :: #{
    %% Default: 127.0.0.1.
    address => binary(),
    %% Default: 9090. With 0 the system chooses one.
    port => inet:port_number(),
    %% PEM files. Default: none, and no encryption.
    tls => none | #{certificate := file:filename_all(), key := file:filename_all()}
}.
%% What a token may do. All keys have defaults that leave nothing out.
-type scope() :: #{
    operations => all | [read | append | export | delete | command | list | query | saga | stats | subscribe],
    context => all | binary(),
    %% What the ids of entities begin with.
    prefix => binary(),
    aggregates => all | [binary()]
}.
-type token() :: #{
    %% Its name, which the audit log shows.
    id := binary(),
    %% The SHA-256 of its text, as 64 hexadecimal digits.
    sha256 := binary(),
    scopes := [scope()],
    %% In seconds since 1970. Default: none.
    expires => none | non_neg_integer(),
    %% How many connections it may have (100), how many calls under way (1000), and how many subscriptions (1000).
    connections => pos_integer(),
    in_flight => pos_integer(),
    subscriptions => non_neg_integer()
}.
-type options() :: #{
    contexts := [context_options()],
    %% Default: one, at 127.0.0.1, port 9090.
    listeners => [listener()],
    %% The names that clients may call the server by, without ports; `<<"*">>' is any. Default: those of this machine
    %% alone.
    hosts => [binary()],
    %% Web pages of which origins may use it, such as `<<"https://app.example.com">>'. Default: none.
    origins => [binary()],
    %% Default: none, and then nobody may do anything.
    tokens => [token()],
    %% Of the gateway: `connections' (20000), `connections_per_address' (10000); calls under way (`in_flight', 20000)
    %% and their bytes (`bytes_in_flight', 128 MiB); bytes of a request (`body', 17 MiB), of its head (`header', 16
    %% KiB) and
    %% headers (`headers', 64); milliseconds that the head (`head_ms', 10000), the body (`body_ms', 30000) and a pause
    %% between requests (`idle_ms', 75000) may take, and a client that takes no bytes (`send_ms', 30000); bytes of a
    %% message of a socket (`message', 17 MiB), and how often a socket is asked for a sign of life (`socket_ping_ms',
    %% 25000); streams of a connection by HTTP/2 (`streams', 100).
    limits => #{atom() => pos_integer()},
    %% Keys of 32 bytes, as hexadecimal digits, for signed tokens: the first one signs, and all verify. Servers with the
    %% same keys and the same `server' take each other's tokens. Default: one that is made at random.
    keys => [binary()],
    server => binary(),
    %% In milliseconds, how long somebody who waits for the events of a stream is kept waiting (`long_poll_ms', 25000),
    %% about how long server-sent events of a stream go on (`events_ms', 60000), and how often those of a name have a
    %% sign of life (`heartbeat_ms', 15000).
    live => #{long_poll_ms => pos_integer(), events_ms => pos_integer(), heartbeat_ms => pos_integer()},
    %% The gateway's program, how often it is asked whether it is well, and when it is given up.
    gateway => #{program => file:filename_all(), ping_ms => pos_integer(), silent_ms => pos_integer()}
}.
-type start_error() ::
    {bad_option, Key :: term(), Why :: term()}
    | {missing_option, Key :: atom()}
    | {unknown_option, Key :: term()}
    %% A context cannot be started.
    | {context, Name :: binary(), warp_core:start_error()}
    %% The gateway cannot serve, such as since the port is in use.
    | {gateway, Why :: binary()}
    | {shutdown, term()}.

%% @doc Starts a server as a child of the calling process, with its contexts, and returns when it listens.
%%
%% Errors: `{bad_option, Key, Why}', `{missing_option, Key}' and `{unknown_option, Key}' for options that are wrong;
%% `{context, Name, Reason}' where a context cannot be started, with the errors of `warp_core:start/1'; `{gateway, Why}'
%% where the gateway cannot serve: an address is in use, or a certificate cannot be read.
-spec start_link(options()) -> {ok, pid()} | {error, start_error()}.
start_link(Options) ->
    case warp_server_options:check(Options) of
        {ok, Settings} -> started(warp_server_sup:start_link(Settings));
        {error, _} = Error -> Error
    end.

started({ok, _} = Started) -> Started;
started({error, {shutdown, {failed_to_start_child, link, {shutdown, {gateway, _} = Reason}}}}) -> {error, Reason};
started({error, {shutdown, {failed_to_start_child, contexts,
                            {shutdown, {failed_to_start_child, {warp_core, Name}, Reason}}}}}) ->
    {error, {context, Name, Reason}};
started({error, Reason}) -> {error, Reason}.

%% @doc The child specification of a server for a supervisor.
-spec child_spec(options()) -> supervisor:child_spec().
child_spec(Options) ->
    #{id => ?MODULE, start => {?MODULE, start_link, [Options]}, type => supervisor, shutdown => infinity}.

%% @doc Stops a server, and the contexts that it started. Does nothing for one that has ended. What is under way may
%% take three more seconds.
-spec stop(pid()) -> ok.
stop(Server) ->
    true = unlink(Server),
    try
        gen_server:stop(Server, shutdown, infinity)
    catch
        exit:noproc -> ok
    end.

%% @doc Changes a running server: `hosts', `origins', `tokens', `limits', `live', and certificates, with all
%% `listeners' and their addresses as they were. What is not given stays. Sockets of tokens that are gone or have
%% expired are closed. Reads certificates again, also when nothing is given.
%%
%% Errors: those of options, and `{bad_option, listeners, addresses_cannot_change}'; `{gateway, Why}' where the gateway
%% refuses, such as a certificate: then it goes on as before. `timeout' after 5 seconds.
-spec configure(pid(), map()) -> ok | {error, start_error() | timeout}.
configure(Server, Options) ->
    case warp_server_settings:change(Server, Options) of
        {ok, Before} ->
            Link = warp_server_sup:link(Server),
            case Link =:= none orelse warp_server_link:configure(Link) of
                {error, {gateway, _}} = Error ->
                    ok = warp_server_settings:restore(Server, Before),
                    Error;
                {error, timeout} = Error -> Error;
                _ -> ok
            end;
        {error, _} = Error ->
            Error
    end.

%% @doc Where a server listens, in the order of its listeners.
-spec addresses(pid()) -> [{Address :: binary(), inet:port_number()}].
addresses(Server) -> warp_server_settings:addresses(Server).

%% @doc A token that nobody can guess, for a client. The server gets its SHA-256, as an option of {@link start_link/1}.
-spec new_token() -> binary().
new_token() ->
    Text = base64:encode(crypto:strong_rand_bytes(32)),
    <<"warp_", << <<(url(Char))>> || <<Char>> <= Text, Char =/= $= >>/binary>>.

url($+) -> $-;
url($/) -> $_;
url(Char) -> Char.

%% @doc What is wrong, and what to do about it, as text: for the errors of {@link start_link/1} and {@link configure/2},
%% and for all reasons of Warp.
-spec format_error(Reason :: term()) -> binary().
format_error({context, Name, Reason}) ->
    unicode:characters_to_binary(["The context ", Name, " cannot be started. ", warp_error:format_error(Reason)]);
format_error({gateway, Why}) ->
    unicode:characters_to_binary(["The gateway cannot serve: ", Why, "."]);
format_error({bad_configuration, Message}) ->
    Message;
format_error(Reason) ->
    warp_error:format_error(Reason).
