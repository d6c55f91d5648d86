defmodule Warp.TypeTest do
  use ExUnit.Case, async: true
  alias Warp.Type

  # Encoded, through text as a file has it, and back.
  defp round(type, value) do
    with {:ok, json} <- Type.encode(type, value) do
      {:ok, text} = :warp_json.encode(%{"value" => json}, 1_000_000)
      {:ok, %{"value" => read}} = :warp_json.decode(text)
      Type.decode(type, Warp.Null.to_nil(read))
    end
  end

  @same [
    any: "text",
    any: nil,
    any: [1, %{"a" => [nil, true, 1.5]}],
    string: "ü",
    integer: -3,
    integer: 123_456_789_012_345_678_901_234_567_890,
    float: 0.1,
    number: 1,
    number: 1.5,
    boolean: false
  ]

  test "what JSON has comes back as it is" do
    for {type, value} <- @same, do: assert(round(type, value) === {:ok, value})
  end

  test "nil is nil of every type" do
    for type <-
          [:any, :string, :integer, :float, :number, :boolean, {:one_of, [:a]}, {:list, Date}, {:map, Date}] ++
            [Date, Time, NaiveDateTime, DateTime, Decimal, Money, Colour],
        do: assert(round(type, nil) === {:ok, nil})
  end

  test "times come back with their microseconds and the precision of these" do
    for {type, value} <- [
          {Date, ~D[2026-02-28]},
          {Date, ~D[-0001-01-01]},
          {Time, ~T[23:59:59]},
          {Time, ~T[23:59:59.120]},
          {Time, ~T[00:00:00.000001]},
          {NaiveDateTime, ~N[2026-01-01 10:00:00.123456]},
          {NaiveDateTime, ~N[2026-01-01 10:00:00.1]},
          {DateTime, ~U[2026-01-01 10:00:00Z]},
          {DateTime, ~U[2026-01-01 10:00:00.100000Z]},
          {DateTime, ~U[1969-12-31 23:59:59.999999Z]}
        ],
        do: assert(round(type, value) === {:ok, value})
  end

  test "a DateTime outside UTC is refused, and says what to do" do
    berlin = %{~U[2026-01-01 10:00:00Z] | time_zone: "Europe/Berlin", zone_abbr: "CET", utc_offset: 3600}
    assert {:error, why} = round(DateTime, berlin)
    assert why =~ "Europe/Berlin" and why =~ "Etc/UTC"
  end

  test "a DateTime that another program stored with an offset is that moment in UTC" do
    assert Type.decode(DateTime, "2026-01-01T12:00:00.50+02:00") == {:ok, ~U[2026-01-01 10:00:00.50Z]}
  end

  test "another calendar is refused" do
    for {type, value} <- [{Date, ~D[2026-01-01]}, {Time, ~T[10:00:00]}, {DateTime, ~U[2026-01-01 10:00:00Z]}] do
      assert {:error, why} = Type.encode(type, %{value | calendar: Other})
      assert why =~ "is not of the type"
    end
  end

  test "a Decimal keeps its digits" do
    for text <- ["1.20", "-0.10", "12E+3", "0", "123456789012345678901234567890.12"] do
      decimal = Decimal.new(text)
      assert round(Decimal, decimal) === {:ok, decimal}
    end

    assert {:error, "is not of the type Decimal" <> _} = round(Decimal, %Decimal{coef: :NaN})
    assert {:error, "is not of the type Decimal" <> _} = Type.decode(Decimal, "twelve")
  end

  test "one of some atoms, lists, maps, and own types" do
    for {type, value} <- [
          {{:one_of, [:open, :closed]}, :closed},
          {{:list, Date}, [~D[2026-01-01], nil]},
          {{:list, {:list, :integer}}, [[1], []]},
          {{:map, {:one_of, [:a]}}, %{"x" => :a}},
          {Money, %Money{amount: 5, currency: "EUR"}},
          {{:list, Money}, [%Money{amount: 5}]},
          {Colour, {1, 2, 3}}
        ],
        do: assert(round(type, value) === {:ok, value})
  end

  test "what is not of the type is refused, with where it is" do
    for {type, value, why} <- [
          {:string, 1, "is not of the type :string: 1"},
          {:integer, 1.0, "is not of the type :integer: 1.0"},
          {:float, 1, "is not of the type :float: 1"},
          {{:one_of, [:open]}, :shut, "is none of [:open]: :shut"},
          {{:list, :integer}, [1, "2"], "[1] is not of the type :integer: \"2\""},
          {{:list, :integer}, [1 | 2], "is a list that ends in 2"},
          {:any, [1, %{a: [~D[2026-01-01] | 2]}],
           "has the struct Date in it: give the field a type in place of :any, see Warp.Type"},
          {{:map, :integer}, %{"a" => []}, "[\"a\"] is not of the type :integer: []"},
          {{:map, :integer}, %{a: 1}, "has keys that are no strings: %{a: 1}"},
          {{:list, Money}, [%Money{amount: "5"}], "[0].amount is not of the type :integer: \"5\""},
          {Money, ~D[2026-01-01], "is no Money: ~D[2026-01-01]"},
          {Date, ~N[2026-01-01 10:00:00], "is not of the type Date: ~N[2026-01-01 10:00:00]"},
          {Colour, "red", "is no colour: \"red\""}
        ],
        do: assert(Type.encode(type, value) == {:error, why})
  end

  test "a struct inside :any is refused by name" do
    assert {:error, why} = Type.encode(:any, %{"days" => [1, ~D[2026-01-01]]})
    assert why =~ "the struct Date" and why =~ "Warp.Type"
  end

  test "what is stored and is not of the type is an error" do
    for {type, json} <- [
          {:integer, "1"},
          {Date, "2026-13-01"},
          {DateTime, "2026-01-01T10:00:00"},
          {{:one_of, [:open]}, "shut"},
          {{:list, :integer}, %{}}
        ],
        do: assert({:error, _} = Type.decode(type, json))
  end
end
