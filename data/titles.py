"""Invented book titles that sound like their genre.

A title is a pattern with one word of each list. The lists are kept apart between genres, so that a reader of a
recommendation list sees at a glance what it is made of, and so that no title occurs in two genres.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Genre:
    """Patterns with the fields ``{a}`` and ``{b}``, and the words for each."""

    name: str
    patterns: tuple[str, ...]
    a: tuple[str, ...]
    b: tuple[str, ...]

    def titles(self) -> list[str]:
        """Every title the genre can make, in a fixed order, all distinct."""
        return [pattern.format(a=a, b=b) for pattern, a, b in product(self.patterns, self.a, self.b)]


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(","))


GENRES = (
    Genre(
        "Space Opera",
        ("The {a} {b}", "{b} of the {a} Sun", "Beyond the {a} {b}"),
        _words("Hollow, Ninth, Drifting, Crimson, Silent, Burning, Forgotten, Iron, Last, Shattered, Exiled, Pale"),
        _words("Armada, Orbit, Starliner, Nebula, Dreadnought, Parsec, Colony, Airlock, Quasar, Helm, Beacon, Regent"),
    ),
    Genre(
        "Cosy Mystery",
        ("Murder at the {a} {b}", "The {a} {b} Affair", "A Body at the {a} {b}"),
        _words(
            "Village, Parish, Seaside, Harvest, Canal, Antique, Lavender, Crooked, Sunday, Midsummer, Ivy, Riverside"
        ),
        _words(
            "Tearoom, Fete, Vicarage, Bakery, Allotment, Bookstall, Choir, Guesthouse, Raffle, Bandstand, Library, Quiz"
        ),
    ),
    Genre(
        "Epic Fantasy",
        ("The {a} of {b}", "{a} and Ash: A Tale of {b}", "A {a} for {b}"),
        _words("Crown, Vow, Blade, Rune, Throne, Prophecy, Wyrm, Sigil, Banner, Spellbook, Gauntlet, Torch"),
        _words(
            "Eldermoor, Vaskarn, Thornreach, Ysmere, Karadun, Oswyth, "
            "Brannoch, Velgard, Duskhold, Irrendel, Morvane, Hask"
        ),
    ),
    Genre(
        "Romance",
        ("A {a} in {b}", "{b} {a}", "One More {a} in {b}"),
        _words(
            "Kiss, Wedding, Love Letter, Promise, Waltz, Proposal, "
            "Crush, Serenade, Heartbeat, Honeymoon, Secret, Rendezvous"
        ),
        _words("Verona, Lisbon, Positano, Paris, Seville, Vienna, Bruges, Capri, Prague, Bath, Salzburg, Nice"),
    ),
    Genre(
        "Cookery",
        ("{a} {b}", "The {a} Book of {b}", "{b} the {a} Way"),
        _words(
            "Weeknight, Rustic, Vegan, One-Pot, Farmhouse, Slow, Thrifty, Nordic, Spicy, Ten-Minute, Wholegrain, Smoky"
        ),
        _words(
            "Soups, Pies, Curries, Breads, Suppers, Stews, Dumplings, Salads, Noodles, Pickles, Puddings, Casseroles"
        ),
    ),
    Genre(
        "Popular Science",
        ("How {a} {b}", "The Hidden Order of {a}: Why It {b}", "{a} {b}: Notes from a Laboratory"),
        _words("Light, Gravity, Memory, Chance, Sleep, Entropy, Language, Instinct, Time, Noise, Heat, Symmetry"),
        _words("Bends, Fails, Evolves, Counts, Lies, Remembers, Scales, Spreads, Adapts, Deceives, Connects, Vanishes"),
    ),
    Genre(
        "Gothic Horror",
        ("What {a} in the {b}", "It {a} Beneath the {b}", "The {b} Where Something {a}"),
        _words("Whispers, Waits, Feeds, Weeps, Crawls, Knocks, Lingers, Hungers, Watches, Rots, Breathes, Screams"),
        _words("Crypt, Attic, Cellar, Asylum, Marsh, Nursery, Belfry, Mausoleum, Well, Orphanage, Sanatorium, Manor"),
    ),
    Genre(
        "Gardening",
        ("{b} for {a} Gardens", "The {a} Garden Guide to {b}", "A Year of {b} in {a} Gardens"),
        _words("Shady, Chalky, Small, Windy, Clay, Coastal, Rooftop, Sandy, Wild, Damp, Sunny, Urban"),
        _words("Roses, Ferns, Tomatoes, Orchids, Bulbs, Climbers, Herbs, Dahlias, Hedges, Berries, Grasses, Peonies"),
    ),
    Genre(
        "Travel Writing",
        ("By {a} to {b}", "{b} on Foot and by {a}", "A {a}, a Map and {b}"),
        _words("Ferry, Bicycle, Night Train, Camper Van, Mule, Canoe, Tram, Motorbike, Sledge, Postbus, Dhow, Tandem"),
        _words(
            "Samarkand, Patagonia, Zanzibar, Ladakh, Tbilisi, Lapland, "
            "Oaxaca, Cappadocia, Hokkaido, Timbuktu, Bhutan, Muscat"
        ),
    ),
    Genre(
        "Business",
        ("{a} {b}", "The {a} Playbook for {b}", "Rethinking {b}: The {a} Way"),
        _words(
            "Leaner, Calmer, Bolder, Agile, Frugal, Data-Driven, Honest, Patient, Remote, Hands-On, Quieter, Smarter"
        ),
        _words(
            "Pricing, Hiring, Selling, Branding, Planning, Budgeting, "
            "Meetings, Negotiation, Outsourcing, Logistics, Feedback, Risk"
        ),
    ),
    Genre(
        "Sea Adventure",
        ("The {a} of the '{b}'", "Aboard the '{b}': The {a}", "'{b}' and the {a}"),
        _words(
            "Mutiny, Voyage, Wreck, Mate, Lookout, Castaway, Smuggler, Midshipman, Blockade, Cargo, Typhoon, Harpoon"
        ),
        _words(
            "Swallow, Albatross, Persistence, Grey Heron, Fair Wind, Cormorant, "
            "Halcyon, Petrel, Good Intent, Kittiwake, Windrose, Seahorse"
        ),
    ),
    Genre(
        "Sport",
        ("{a}: The Making of a {b}", "The {b} and the {a}", "Diary of a {b}: {a}"),
        _words(
            "Extra Time, Marathon, Cup Final, Relegation, Underdog, Velodrome, "
            "Home Straight, Away Day, Penalty, Peloton, Title Bout, Photo Finish"
        ),
        _words(
            "Goalkeeper, Sprinter, Coach, Climber, Rower, Champion, "
            "Referee, Boxer, Cyclist, Substitute, Swimmer, Fencer"
        ),
    ),
)
