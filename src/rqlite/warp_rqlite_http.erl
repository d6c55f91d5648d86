%% @private Sends requests to rqlite nodes, over connections that are kept open.
%%
%% Each target has an httpc of its own. httpc tells connections apart by their address alone, and a target
%% must not use a connection that another target opened with other certificates.
-module(warp_rqlite_http).

-export([start/1, stop/1, post/5]).

-export_type([client/0, failure/0]).

-type client() :: #{profile := atom(), keeper := pid(), tls := list(),
                    auth := none | fun(() -> string())}.
%% `unsent': the server has seen nothing of the request. `unanswered': the outcome is unknown.
-type failure() :: {unsent | unanswered, Why :: term()}.

-define(CONNECT_MS, 2000).
-define(IDLE_MS, 60000).
-define(CONNECTIONS, 64).
-define(CLIENTS, 1000).
%% How many bytes an answer may have.
-define(MAX_BYTES, 64 * 1024 * 1024).
%% How much longer than the timeout httpc may take to report it.
-define(GRACE_MS, 2000).

%% @doc Starts an httpc, which goes with the calling process. Errors: a certificate file that can't
%% be read, or no certificates of authorities on this system.
-spec start(warp_rqlite_options:config()) -> {ok, client()} | {error, term()}.
start(#{nodes := Nodes, tls := Files, auth := Auth}) ->
    case [Url || "https:" ++ _ = Url <- Nodes] of
        [] -> connect([], Auth);
        [_ | _] ->
            case authorities(Files) of
                {ok, Authorities} -> connect(tls_options(Authorities, Files), Auth);
                {error, _} = Error -> Error
            end
    end.

connect(Tls, Auth) ->
    Owner = self(),
    {Keeper, Ref} = spawn_monitor(fun() -> keep(Owner) end),
    receive
        {Keeper, Profile} ->
            demonitor(Ref, [flush]),
            {ok, #{profile => Profile, keeper => Keeper, tls => Tls, auth => Auth}};
        {'DOWN', Ref, process, Keeper, Why} ->
            {error, {httpc, Why}}
    end.

%% An httpc is a child of inets, and would outlive its owner if that was killed.
keep(Owner) ->
    Profile = start_profile(1),
    ok = httpc:set_options([
        {cookies, disabled},
        {ipfamily, inet6fb4},
        {max_sessions, ?CONNECTIONS},
        %% No request waits behind another one.
        {max_keep_alive_length, 0},
        {keep_alive_timeout, ?IDLE_MS}
    ], Profile),
    Ref = monitor(process, Owner),
    Owner ! {self(), Profile},
    receive
        {'DOWN', Ref, process, Owner, _} -> ok;
        stop -> ok
    end,
    inets:stop(httpc, Profile).

%% Each httpc needs a name of its own. Names are used again, since atoms are never freed.
start_profile(N) when N =< ?CLIENTS ->
    Profile = list_to_atom("warp_rqlite_" ++ integer_to_list(N)),
    case inets:start(httpc, [{profile, Profile}]) of
        {ok, _} -> Profile;
        {error, {already_started, _}} -> start_profile(N + 1)
    end.

authorities(#{cacertfile := File}) ->
    %% Read now, so that a wrong path is an error of the start and not of each request.
    case file:read_file(File) of
        {ok, Pem} ->
            case [Der || {'Certificate', Der, not_encrypted} <- public_key:pem_decode(Pem)] of
                [] -> {error, {no_certificate_in, File}};
                Ders -> {ok, Ders}
            end;
        {error, Why} ->
            {error, {cannot_read, File, Why}}
    end;
authorities(#{}) ->
    try {ok, public_key:cacerts_get()}
    catch error:Why -> {error, {no_certificates_of_this_system, Why}}
    end.

tls_options(Authorities, Files) ->
    ByName = public_key:pkix_verify_hostname_match_fun(https),
    %% httpc gives the address of a node as if it were a name, which no certificate of an address
    %% would match.
    Match = fun({dns_id, Host}, {iPAddress, Octets}) -> is_address(Host, Octets);
               (Reference, Presented) -> ByName(Reference, Presented)
            end,
    %% What is wrong with a certificate is in the error that the caller gets.
    [{verify, verify_peer}, {depth, 10}, {cacerts, Authorities}, {log_level, error},
     {customize_hostname_check, [{match_fun, Match}]}
     | maps:to_list(maps:with([certfile, keyfile], Files))].

is_address(Host, Octets) ->
    case inet:parse_strict_address(string:trim(Host, both, "[]")) of
        {ok, {A, B, C, D}} -> iolist_to_binary(Octets) =:= <<A, B, C, D>>;
        {ok, Words} -> iolist_to_binary(Octets) =:= << <<Word:16>> || Word <- tuple_to_list(Words) >>;
        {error, _} -> false
    end.

-spec stop(client()) -> ok.
stop(#{keeper := Keeper}) ->
    Ref = monitor(process, Keeper),
    Keeper ! stop,
    receive {'DOWN', Ref, process, Keeper, _} -> ok end.

%% @doc Posts JSON and gives the answer's status and body. Redirects are not followed, and nothing
%% is sent twice.
-spec post(client(), Node :: string(), Path :: string(), Json :: binary(), TimeoutMs :: pos_integer()) ->
    {ok, Status :: pos_integer(), Body :: binary()} | {error, failure()}.
post(#{profile := Profile, tls := Tls, auth := Auth}, Node, Path, Json, Timeout) ->
    Headers = [{"authorization", Auth()} || Auth =/= none],
    Request = {Node ++ Path, Headers, "application/json", Json},
    HttpOptions = [{timeout, Timeout}, {connect_timeout, min(Timeout, ?CONNECT_MS)},
                   {autoredirect, false} | [{ssl, Tls} || Tls =/= []]],
    %% In a process of its own: httpc would wait without a limit for a process of its own that was killed,
    %% and a late answer must not reach the caller's mailbox.
    Self = self(),
    Tag = make_ref(),
    {Pid, Ref} = spawn_monitor(fun() ->
        Self ! {Tag, try request(Request, HttpOptions, Profile)
                     catch _:Crash -> {error, crash(Crash)}
                     end}
    end),
    receive
        {Tag, Answer} ->
            true = demonitor(Ref, [flush]),
            answer(Answer);
        {'DOWN', Ref, process, Pid, _} ->
            {error, {unanswered, interrupted}}
    after warp_deadline:left(warp_deadline:from(Timeout + ?GRACE_MS)) ->
        true = exit(Pid, kill),
        receive {'DOWN', Ref, process, Pid, _} -> ok end,
        receive {Tag, Answer} -> answer(Answer)
        after 0 -> {error, {unanswered, timeout}}
        end
    end.

answer({ok, _Status, _Body} = Ok) -> Ok;
answer({error, Why}) -> {error, failure(Why)}.

%% In pieces, so that an answer without end does not fill the memory.
request(Request, HttpOptions, Profile) ->
    Options = [{sync, false}, {stream, self}, {body_format, binary}],
    {ok, Id} = httpc:request(post, Request, HttpOptions, Options, Profile),
    pieces(Id, Profile, [], 0).

pieces(Id, Profile, _Pieces, Bytes) when Bytes > ?MAX_BYTES ->
    ok = httpc:cancel_request(Id, Profile),
    {error, {too_large, ?MAX_BYTES}};
pieces(Id, Profile, Pieces, Bytes) ->
    receive
        {http, {Id, stream_start, _Headers}} ->
            pieces(Id, Profile, Pieces, Bytes);
        {http, {Id, stream, Piece}} ->
            pieces(Id, Profile, [Piece | Pieces], Bytes + byte_size(Piece));
        {http, {Id, stream_end, _Headers}} ->
            {ok, 200, iolist_to_binary(lists:reverse(Pieces))};
        {http, {Id, {{_Version, Status, _Reason}, _Headers, Body}}} ->
            {ok, Status, Body};
        {http, {Id, {error, Why}}} ->
            {error, Why}
    end.

%% The arguments of a function that crashed may contain the password.
crash(Why) when is_atom(Why) -> Why;
crash(_) -> crashed.

failure({failed_connect, Attempts}) when is_list(Attempts) ->
    {unsent, connect_error([Why || {_Family, _Options, Why} <- Attempts])};
failure({too_large, _} = Why) ->
    {unanswered, Why};
failure(Why) when is_atom(Why) ->
    {unanswered, Why};
failure({Why, _}) when is_atom(Why) ->
    {unanswered, Why};
failure(_) ->
    {unanswered, failed}.

%% The last one is of IPv4; but what TLS says counts more, whatever family it came by.
connect_error(Reasons) ->
    case [Alert || {tls_alert, Alert} <- Reasons] of
        [{Name, Text} | _] -> {tls, Name, unicode:characters_to_binary(Text)};
        [] when Reasons =:= [] -> failed;
        [] ->
            case lists:last(Reasons) of
                Why when is_atom(Why) -> Why;
                Why -> warp_text:format("~tP", [Why, 12])
            end
    end.
