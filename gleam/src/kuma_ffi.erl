%% @private What `kuma' cannot say in Gleam: where a fold is found.
-module(kuma_ffi).

-export([new_key/0, put_fold/2, fold/1, forget_fold/1, nothing/0]).

-type key() :: {?MODULE, reference()}.

%% @doc A name under which a fold is found, by the processes of entities too.
-spec new_key() -> key().
new_key() ->
    {?MODULE, make_ref()}.

-spec put_fold(key(), term()) -> nil.
put_fold(Key, Fold) ->
    persistent_term:put(Key, Fold),
    nil.

-spec fold(key()) -> term().
fold(Key) ->
    persistent_term:get(Key).

-spec forget_fold(key()) -> nil.
forget_fold(Key) ->
    _ = persistent_term:erase(Key),
    nil.

%% @doc What a Gleam decoder that fails has in place of a value; nobody looks at it.
-spec nothing() -> nil.
nothing() ->
    nil.
