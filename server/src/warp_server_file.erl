%% @private The configuration of a server in a file, in TOML, as docs/server.md shows it.
-module(warp_server_file).

-export([start_link/1, read/1, changeable/1, files/1]).

-type error() :: {bad_configuration, Message :: binary()}.

%% How long the program that reads TOML may take.
-define(READ_MS, 10000).

%% @doc Starts a server with the configuration in a file.
-spec start_link(file:filename_all()) -> {ok, pid()} | {error, error() | warp_server:start_error()}.
start_link(File) ->
    case read(File) of
        {ok, Options} -> warp_server:start_link(Options);
        {error, _} = Error -> Error
    end.

%% @doc The options of {@link warp_server:start_link/1} that a file has. Adds the folders of the code that its contexts
%% name to the code path.
-spec read(file:filename_all()) -> {ok, warp_server:options()} | {error, error()}.
read(File) ->
    case json(File) of
        {ok, Json} ->
            {ok, Given} = warp_json:decode(Json),
            try
                {ok, options(Given, filename:dirname(filename:absname(File)))}
            catch
                throw:{wrong, Where, What} ->
                    {error, {bad_configuration, text("~ts: ~ts ~ts", [File, Where, What])}}
            end;
        {error, Message} ->
            {error, {bad_configuration, Message}}
    end.

text(Format, Arguments) -> unicode:characters_to_binary(io_lib:format(Format, Arguments)).

%% @doc Those options that a running server can change.
-spec changeable(warp_server:options()) -> map().
changeable(Options) -> maps:with([hosts, origins, tokens, limits, live, listeners], Options).

%% @doc The files of certificates that options name.
-spec files(warp_server:options()) -> [file:filename_all()].
files(Options) ->
    lists:append([[Certificate, Key]
                  || #{tls := #{certificate := Certificate, key := Key}} <- maps:get(listeners, Options, [])]).

%% ------------------------------------------------------------------ TOML

%% The gateway reads it.
json(File) ->
    Program = filename:join(code:priv_dir(warp_server), "warp_gateway"),
    Options = [{args, ["configuration", File]}, binary, stream, exit_status, stderr_to_stdout, use_stdio],
    try open_port({spawn_executable, Program}, Options) of
        Port -> output(Port, [])
    catch
        error:Why -> {error, text("~ts cannot be started: ~p", [Program, Why])}
    end.

output(Port, Output) ->
    receive
        {Port, {data, More}} -> output(Port, [Output, More]);
        {Port, {exit_status, 0}} -> {ok, iolist_to_binary(Output)};
        {Port, {exit_status, _}} -> {error, string:trim(iolist_to_binary(Output))}
    after ?READ_MS ->
        true = port_close(Port),
        {error, <<"the file is not read in time">>}
    end.

%% ------------------------------------------------------------------ Options

options(Given, Dir) ->
    known(Given, "it", [<<"contexts">>, <<"listeners">>, <<"hosts">>, <<"origins">>, <<"tokens">>, <<"limits">>,
                        <<"live">>, <<"keys">>, <<"server">>]),
    Convert = #{contexts => fun(All) -> each(All, <<"contexts">>, fun(One) -> context(One, Dir) end) end,
                listeners => fun(All) -> each(All, <<"listeners">>, fun(One) -> listener(One, Dir) end) end,
                tokens => fun(All) -> each(All, <<"tokens">>, fun token/1) end,
                limits => fun(Table) -> atoms(table(Table, <<"limits">>)) end,
                live => fun(Table) -> atoms(table(Table, <<"live">>)) end},
    maps:map(fun(Key, Value) -> (maps:get(Key, Convert, fun same/1))(Value) end, atoms(Given)).

same(Value) -> Value.

context(Given, Dir) ->
    known(Given, <<"a context">>, [<<"name">>, <<"data_dir">>, <<"module">>, <<"code">>, <<"logs">>, <<"options">>]),
    ok = lists:foreach(fun(Path) -> add_code(under(Dir, Path)) end, list(maps:get(<<"code">>, Given, []), <<"code">>)),
    Named = case Given of
                #{<<"module">> := Module} when is_binary(Module) -> #{module => module(Module)};
                #{<<"module">> := _} -> wrong(<<"module">>, "is no text");
                #{} -> #{}
            end,
    Logs = [#{name => Name, initial_state => null} || Name <- list(maps:get(<<"logs">>, Given, []), <<"logs">>)],
    Options = maps:map(fun option/2, atoms(table(maps:get(<<"options">>, Given, #{}), <<"options">>))),
    Own = case {Logs, Named} of
              {[], _} -> Options;
              {_, #{module := _}} -> wrong(<<"logs">>, "stand beside a module, which says what aggregates there are");
              {_, _} -> Options#{aggregates => Logs}
          end,
    maps:merge(Named, #{name => maps:get(<<"name">>, Given, missing), options => Own,
                        data_dir => under(Dir, maps:get(<<"data_dir">>, Given, <<"data">>))}).

%% A module by the name that its language has for it: `bank', `MyApp.Bank' in Elixir, `my_app/bank' in Gleam.
module(<<First, _/binary>> = Name) when First >= $A, First =< $Z -> binary_to_atom(<<"Elixir.", Name/binary>>);
module(Name) -> binary_to_atom(binary:replace(Name, <<"/">>, <<"@">>, [global])).

%% What is a word in TOML, and an atom in the options of a context.
option(_Key, Text) when is_binary(Text) -> binary_to_atom(Text);
option(_Key, Value) -> Value.

add_code(Pattern) ->
    case [Path || Path <- filelib:wildcard(unicode:characters_to_list(Pattern)), filelib:is_dir(Path)] of
        [] -> wrong(<<"code">>, text("names ~ts, which is no folder", [Pattern]));
        Paths -> code:add_pathsz(Paths)
    end.

listener(Given, Dir) ->
    known(Given, <<"a listener">>, [<<"address">>, <<"port">>, <<"certificate">>, <<"key">>]),
    Plain = atoms(maps:with([<<"address">>, <<"port">>], Given)),
    case Given of
        #{<<"certificate">> := Certificate, <<"key">> := Key} ->
            Plain#{tls => #{certificate => under(Dir, Certificate), key => under(Dir, Key)}};
        #{<<"certificate">> := _} -> wrong(<<"certificate">>, "stands without a key");
        #{<<"key">> := _} -> wrong(<<"key">>, "stands without a certificate");
        #{} -> Plain
    end.

token(Given) ->
    known(Given, <<"a token">>, [<<"id">>, <<"sha256">>, <<"scopes">>, <<"expires">>, <<"connections">>,
                                 <<"in_flight">>, <<"subscriptions">>]),
    Token = maps:map(fun(expires, Time) -> seconds(Time); (_, Value) -> Value end, atoms(Given)),
    Token#{scopes => each(maps:get(<<"scopes">>, Given, []), <<"scopes">>, fun scope/1)}.

scope(Given) ->
    known(Given, <<"a scope">>, [<<"operations">>, <<"context">>, <<"prefix">>, <<"aggregates">>]),
    maps:map(fun(prefix, Prefix) -> Prefix;
                (_, <<"all">>) -> all;
                (operations, Names) -> [known_atom(Name) || Name <- list(Names, <<"operations">>)];
                (_, Value) -> Value
             end, atoms(Given)).

%% One that is no atom yet is none of the operations, which the check of the options says.
known_atom(Name) when is_binary(Name) -> binary_to_atom(Name);
known_atom(Other) -> Other.

seconds(Time) when is_binary(Time) ->
    try
        calendar:rfc3339_to_system_time(binary_to_list(Time))
    catch
        error:_ -> wrong(<<"expires">>, "is no time such as 2027-01-01T00:00:00Z")
    end;
seconds(_) ->
    wrong(<<"expires">>, "is no time such as 2027-01-01T00:00:00Z").

%% A path of the file is relative to its folder.
under(Dir, Path) when is_binary(Path) -> filename:join(Dir, Path);
under(_Dir, _) -> wrong(<<"a path">>, "is no text").

%% ------------------------------------------------------------------ Shapes

each(All, Name, Convert) -> [Convert(table(One, Name)) || One <- list(All, Name)].

list(All, _Name) when is_list(All) -> All;
list(_, Name) -> wrong(Name, "is no list").

table(#{} = Table, _Name) -> Table;
table(_, Name) -> wrong(Name, "is no table").

known(Given, Where, Known) ->
    case maps:keys(maps:without(Known, Given)) of
        [] -> ok;
        [Key | _] -> wrong(Where, text("has ~ts, which means nothing. It may have ~ts", [Key, lists:join(", ", Known)]))
    end.

%% The keys were checked, or are checked with the options.
atoms(Given) -> maps:from_list([{binary_to_atom(Key), Value} || {Key, Value} <- maps:to_list(Given)]).

-spec wrong(unicode:chardata(), unicode:chardata()) -> no_return().
wrong(Where, What) -> throw({wrong, Where, What}).
