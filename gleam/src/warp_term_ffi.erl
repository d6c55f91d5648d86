%% Values in Erlang's term format, as Base64; and events in it, inside a JSON object: `{"term": Base64}'.
-module(warp_term_ffi).

-export([encode/1, decode/1]).
-export([to_text/1, from_text/1, name/1]).

%% @doc The type of an event, which is the name of its constructor, and its payload.
-spec encode(term()) -> {binary(), #{binary() => binary()}}.
encode(Event) ->
    case to_text(Event) of
        {ok, Text} -> {name(Event), #{<<"term">> => Text}};
        {error, Why} -> error({warp_said, Why})
    end.

%% @doc The event with this type and payload.
-spec decode(map()) -> {ok, term()} | {error, [tuple()]}.
decode(#{payload := #{<<"term">> := Text}}) when is_binary(Text) ->
    case from_text(Text) of
        {ok, Event} -> {ok, Event};
        {error, Found} -> bad(Found)
    end;
decode(_Event) ->
    bad(<<"something else">>).

bad(Found) ->
    {error, [{decode_error, <<"Erlang term">>, Found, [<<"term">>]}]}.

%% @doc A term in Erlang's term format, as Base64. Equal terms have equal texts, so that the engine
%% recognizes a repeated append. A process, port, reference or function means nothing in another run of
%% the VM, so a term that holds one is an error.
-spec to_text(term()) -> {ok, binary()} | {error, binary()}.
to_text(Term) ->
    case foreign(Term) of
        none -> {ok, base64:encode(term_to_binary(Term, [deterministic, {minor_version, 2}]))};
        Kind -> {error, <<"a ", Kind/binary, " cannot be stored">>}
    end.

%% @doc The term that `to_text/1' was given.
%%
%% The text comes from a file, which anybody may have changed. So this makes no atoms (the VM never frees
%% them, and a full table of atoms ends it), unpacks nothing to more than its own size, and returns no
%% functions.
-spec from_text(binary()) -> {ok, term()} | {error, binary()}.
from_text(Text) ->
    try base64:decode(Text) of
        <<131, 80, _/binary>> -> {error, <<"a compressed term">>};
        Bytes -> from_bytes(Bytes)
    catch
        error:_ -> {error, <<"not Base64">>}
    end.

%% The atom of a constructor exists once a module that names it is loaded. If a term has an unknown atom,
%% all modules are loaded, once in the life of the VM. OTP's own modules, which have no constructors of
%% Gleam types, come last: there are many, and a release has them beside the others.
from_bytes(Bytes) ->
    from_bytes(Bytes, [fun() -> ok end, fun() -> load(not_otp) end, fun() -> load(all) end]).

from_bytes(_Bytes, []) ->
    {error, <<"no term that this program knows the constructors of">>};
from_bytes(Bytes, [Prepare | More]) ->
    ok = Prepare(),
    case safely(Bytes) of
        {Term, Used} when Used =:= byte_size(Bytes) ->
            case foreign(Term) of
                none -> {ok, Term};
                Kind -> {error, <<"a ", Kind/binary, " in a term">>}
            end;
        {_Term, _Used} ->
            {error, <<"more than a term">>};
        error ->
            from_bytes(Bytes, More)
    end.

safely(Bytes) ->
    try
        binary_to_term(Bytes, [safe, used])
    catch
        error:badarg -> error
    end.

%% The first part of a term that means nothing outside this run of the VM.
foreign(T) when is_pid(T) -> <<"process">>;
foreign(T) when is_port(T) -> <<"port">>;
foreign(T) when is_reference(T) -> <<"reference">>;
foreign(T) when is_function(T) -> <<"function">>;
foreign([Head | Tail]) ->
    case foreign(Head) of
        none -> foreign(Tail);
        Kind -> Kind
    end;
foreign(T) when is_tuple(T) -> foreign(tuple_to_list(T));
foreign(T) when is_map(T) -> foreign(maps:to_list(T));
foreign(_) -> none.

%% Loads modules once for each code path.
load(Which) ->
    Path = code:get_path(),
    case persistent_term:get({?MODULE, Which}, none) of
        Path ->
            ok;
        _ ->
            Root = code:lib_dir(),
            _ = code:ensure_modules_loaded(
                [list_to_atom(Name)
                 || {Name, File, false} <- code:all_available(), is_list(File),
                    Which =:= all orelse not lists:prefix(Root, File)]),
            persistent_term:put({?MODULE, Which}, Path)
    end.

%% @doc The name of a value's constructor as Gleam writes it, or `Event' for a value that has none.
-spec name(term()) -> binary().
name(Term) when is_tuple(Term), tuple_size(Term) > 0, is_atom(element(1, Term)) ->
    name(element(1, Term));
name(Atom) when is_atom(Atom), Atom =/= nil, Atom =/= true, Atom =/= false ->
    Words = string:split(atom_to_binary(Atom), <<"_">>, all),
    case iolist_to_binary([string:titlecase(Word) || Word <- Words]) of
        <<>> -> <<"Event">>;
        Name -> Name
    end;
name(_) ->
    <<"Event">>.
