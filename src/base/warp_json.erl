%% @private JSON text, made and read by the NIF: on a normal scheduler while it is short.
-module(warp_json).

-export([encode/2, encode_long/1, encode_padded/1, decode/1]).

%% More than any text has that is made of what was checked before.
-define(ANY_SIZE, 1 bsl 40).

%% @doc A term as JSON text of at most so many bytes. Binaries are strings and have to be UTF-8, maps
%% are objects, atoms are strings but for true, false, null and nil.
-spec encode(term(), MaxBytes :: pos_integer()) -> {ok, binary()} | {error, term()}.
encode(Term, MaxBytes) ->
    encode(Term, false, MaxBytes).

%% @doc The same of any size, for what is long anyway: at once on a dirty scheduler.
-spec encode_long(term()) -> {ok, binary()} | {error, term()}.
encode_long(Term) ->
    warp_nif:json_encode_dirty(Term, false, ?ANY_SIZE).

%% @doc A term as JSON text of any size, with 17 digits in each float, for SQLite's JSON functions.
-spec encode_padded(term()) -> {ok, binary()} | {error, term()}.
encode_padded(Term) ->
    encode(Term, true, ?ANY_SIZE).

encode(Term, Padded, MaxBytes) ->
    case warp_nif:json_encode(Term, Padded) of
        dirty -> warp_nif:json_encode_dirty(Term, Padded, MaxBytes);
        Encoded -> Encoded
    end.

%% @doc The object that a JSON text is, as a map with binary keys.
-spec decode(binary()) -> {ok, map()} | {error, term()}.
decode(Text) ->
    case warp_nif:json_decode(Text) of
        dirty -> warp_nif:json_decode_dirty(Text);
        Decoded -> Decoded
    end.
